"""A plain script without an event loop: two agents with different settings in one process.

python examples/embedding/script.py
"""

from __future__ import annotations

from scaffold import Planning, Scaffold, Task, act, action, think
from scaffold.testing import Scripted

SENT: list[str] = []


@action(effect="irreversible")
def send(text: str) -> str:
    """Send a text."""
    SENT.append(text)
    return "sent"


def answering(task: Task) -> Planning[str]:
    """Think of an answer, and send it."""
    answer = yield from think("answer", task.prompt)
    yield from act("send", {"text": answer})
    return answer.value


RULE = {"kind": "constraint", "statement": "nothing is shouted", "rule": "!args.text.endsWith('!')"}


def main() -> None:
    """Ask both the same question."""
    task = Task.model_validate({"prompt": "Is it done?", "goals": [RULE]})
    calm = Scaffold(answering, backends={"default": Scripted("Yes.")}, monitors=["rules"], actions=[send])
    loud = Scaffold(answering, backends={"default": Scripted("Yes!")}, monitors=["rules"], actions=[send])
    for agent in (calm, loud):
        outcome = agent.solve_sync(task)
        print(outcome.status, "-", outcome.answer or outcome.reason)
    assert SENT == ["Yes."]


if __name__ == "__main__":
    main()
