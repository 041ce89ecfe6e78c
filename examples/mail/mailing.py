"""Two actions, one that reads and one that is irreversible, and a planner of ten lines: a start for your own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaffold import Planning, Task, act, action, think
from scaffold.errors import ActionRefused

HERE = Path(__file__).parent
SENT = HERE / "sent.txt"


@action(effect="read")
def read_mail(name: str) -> dict[str, str]:
    """Read one mail of the inbox: who sent it, and what it says."""
    head, _, text = (HERE / "inbox" / name).read_text(encoding="utf-8").partition("\n\n")
    return {"sender": head.splitlines()[0].removeprefix("From: "), "text": text}


@action(effect="irreversible", identity=("name",))  # each mail is answered once, by all runs of a folder
def send(name: str, to: str, text: str) -> str:
    """Answer a mail."""
    with SENT.open("a", encoding="utf-8") as file:
        file.write(f"{name} {to}: {text}\n")
    return f"sent to {to}"


def answer_all(task: Task) -> Planning[dict[str, Any]]:
    """Read each mail, have an answer written, and send it; refusals are reported, and the next mail follows."""
    told = {}
    for name in task.inputs["mails"]:
        mail = yield from act("read_mail", {"name": name})
        reply = yield from think("answer", mail, instruction="Answer this customer politely, in one sentence.")
        try:
            sent = yield from act("send", {"name": name, "to": mail.value["sender"], "text": reply})
            told[name] = sent.value
        except ActionRefused as refused:
            told[name] = f"not sent: {refused.message}"
    return told
