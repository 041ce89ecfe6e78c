"""Our own xLSTM inference (Beck et al., 2024, arXiv 2405.04517) in numpy, and two small trained models.

`mlstm` and `slstm` hold the two cells, equation by equation; `blocks` puts them into residual blocks; `model` stacks
the blocks and has the immutable state; `checkpoint` reads and checks weights; `tokens` is the tokenizer of a small
vocabulary. `backend` is the plug-in, which answers requests with `generation` in a thread. `towers` defines the prompts
of the checkpoint `hanoi`.
"""
