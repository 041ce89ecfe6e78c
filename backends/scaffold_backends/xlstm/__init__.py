"""Our own inference of xLSTM (Beck et al., 2024, arXiv 2405.04517) in numpy, and two small trained models.

`mlstm` and `slstm` hold the two cells, equation by equation; `blocks` puts them into residual blocks; `model` stacks
the blocks and has the immutable state; `checkpoint` reads weights and says what is wrong with them; `tokens` turns
texts into words of a small vocabulary. `backend` is the plug-in: it answers requests with `generation`, in a thread.
`towers` says how the checkpoint `hanoi` is asked.
"""
