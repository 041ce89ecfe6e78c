"""`scaffold audit verify`: whatever is changed in a stored run is found, and named with its line."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Scaffold, lines_of, only_run

from scaffold.trace.chain import GENESIS, seal
from scaffold.trace.verify import Verification, verify_run


@pytest.fixture
def run(here: Scaffold, folder: Path) -> Path:
    """The folder of a run that has ended."""
    assert here("solve", "pay.yaml").status == 0
    return only_run(folder)


@pytest.fixture
def signed(here: Scaffold, folder: Path) -> tuple[Path, str]:
    """The folder of a signed run, and the verifier line."""
    line = here("audit", "key", "key.pem").out.strip()
    assert here("solve", "pay.yaml", "--key", "key.pem").status == 0
    return only_run(folder), line


def test_a_whole_run_is_verified(here: Scaffold, run: Path) -> None:
    """Unchanged, it is verified, with status 0, as text and as JSON."""
    ran = here("audit", "verify", "last")
    assert (ran.status, ran.out.startswith(f"run {run.name} is verified and has ended: solved")) == (0, True)
    said = here("audit", "verify", "last", "--json").json
    assert (said["ok"], said["state"], said["ended"], said["actions"]) == (True, "verified", "solved", 2)


def test_any_flipped_byte_is_found_on_its_line(run: Path) -> None:
    """On every line, a flipped bit at its start, its end or anywhere between names that line."""
    whole = (run / "trace.jsonl").read_bytes()
    lines = lines_of(run)
    source = random.Random(1)
    start = 0
    for number, line in enumerate(lines, start=1):
        places = [0, len(line) - 2, len(line) - 1, *(source.randrange(len(line)) for _ in range(6))]
        for place in places:
            changed = bytearray(whole)
            changed[start + place] ^= 1 << source.randrange(7)
            (run / "trace.jsonl").write_bytes(changed)
            found = verify_run(run)
            assert (found.ok, found.line) == (False, number), (number, place, found)
        start += len(line)


def test_any_flipped_byte_of_content_is_found(run: Path) -> None:
    """Content that is not what was digested is told from content that is withheld."""
    path = run / "content.jsonl"
    whole = path.read_bytes()
    source = random.Random(2)
    for _ in range(60):
        changed = bytearray(whole)
        place = source.randrange(len(whole))
        changed[place] ^= 1 << source.randrange(7)
        path.write_bytes(changed)
        found = verify_run(run)
        assert not found.ok or (found.withheld and place >= whole.rindex(b"\n", 0, -1)), place


def test_a_salt_in_capitals_is_an_alteration(run: Path) -> None:
    """It stands for the same bytes, so only the exact line tells that it was touched."""
    path = run / "content.jsonl"
    line, _, rest = path.read_bytes().partition(b"\n")
    start = line.index(b'"salt":"') + 8
    path.write_bytes(line[:start] + line[start : start + 32].upper() + line[start + 32 :] + b"\n" + rest)
    assert not verify_run(run).ok


def test_withheld_content_leaves_the_spine_verified(here: Scaffold, run: Path) -> None:
    """Deleting content is allowed: the run stays verified, and it is said how much is missing."""
    (run / "content.jsonl").unlink()
    found = verify_run(run)
    assert found.ok
    assert found.withheld > 5
    assert "is withheld" in here("audit", "verify", "last").out


def _torn(run: Path) -> None:
    path = run / "trace.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def _cut(run: Path) -> None:
    (run / "trace.jsonl").write_bytes(b"".join(lines_of(run)[:-1]))


def _emptied(run: Path) -> None:
    (run / "trace.jsonl").write_bytes(b"")


def _swapped(run: Path) -> None:
    lines = lines_of(run)
    lines[3], lines[4] = lines[4], lines[3]
    (run / "trace.jsonl").write_bytes(b"".join(lines))


def _renamed(run: Path) -> None:
    run.rename(run.with_name("20200101-000000-aaaaaa"))


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (_torn, "torn tail"),
        (_cut, "cut off"),
        (_emptied, "cut off"),
        (_swapped, "altered"),
        (_renamed, "altered"),
    ],
)
def test_damage_has_a_name(here: Scaffold, run: Path, spoil: Callable[[Path], None], state: str) -> None:
    """Each kind of damage is called by its own name, with a status that is not 0."""
    spoil(run)
    ran = here("audit", "verify", "last", "--json")
    assert (ran.status, ran.json["state"]) == (1, state)


def _rewritten(run: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> Verification:
    """Verify a run whose events were changed by somebody who then sealed the chain anew."""
    events = change([json.loads(line) for line in lines_of(run)])
    previous, sealed = GENESIS, []
    for number, event in enumerate(events, start=1):
        event.pop("hash")
        event["seq"] = number
        line, previous = seal(previous, json.dumps(event, separators=(",", ":")).encode())
        sealed.append(line + b"\n")
    (run / "trace.jsonl").write_bytes(b"".join(sealed))
    (run / "content.jsonl").unlink(missing_ok=True)
    return verify_run(run)


def _without(kind: str) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    def change(events: list[dict[str, object]]) -> list[dict[str, object]]:
        place = next(place for place, event in enumerate(events) if event["kind"] == kind)
        return events[:place] + events[place + 1 :]

    return change


def _twice(kind: str) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    def change(events: list[dict[str, object]]) -> list[dict[str, object]]:
        place = next(place for place, event in enumerate(events) if event["kind"] == kind)
        return [*events[: place + 1], dict(events[place]), *events[place + 1 :]]

    return change


def _blocking(events: list[dict[str, object]]) -> list[dict[str, object]]:
    reviews = [event for event in events if event["kind"] == "reviewed" and event["subject"] == "action"]
    reviews[0]["decision"] = "block"
    return events


def _earlier(events: list[dict[str, object]]) -> list[dict[str, object]]:
    events[5]["at"] = 1.0
    return events


def _going_on(events: list[dict[str, object]]) -> list[dict[str, object]]:
    return [*events, dict(events[-2])]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("action.cleared"), "started without a clearance"),
        (_twice("action.intent"), "started without a clearance"),
        (_without("action.intent"), "was never started"),
        (_without("plan.proposed"), "was never proposed"),
        (_blocking, "the review of the action said block"),
        (_going_on, "continues after its end"),
    ],
)
def test_a_chain_that_was_sealed_anew_still_shows_the_gate_passed(
    run: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]], said: str
) -> None:
    """Conduct is checked apart from the chain: an action without its clearance is found in a whole chain."""
    found = _rewritten(run, change)
    assert (found.ok, found.state) == (False, "misconduct")
    assert said in found.sentence()
    assert found.line > 1


@pytest.mark.parametrize("kind", ["approval.given", "approval.asked"])
def test_a_clearance_by_an_approval_that_nobody_gave_is_found(here: Scaffold, folder: Path, kind: str) -> None:
    """What was escalated and has no approval in the trace must not have been cleared."""
    here("solve", "people.yaml", "--input", 'invoices=[{"invoice": "B", "cents": 1}]')
    (name,) = (each["id"] for each in here("approvals", "list", "--json").json)
    here("approvals", "approve", "last", name)
    assert here("resume", "last").status == 0
    assert verify_run(only_run(folder)).ok
    found = _rewritten(only_run(folder), _without(kind))
    assert (found.ok, found.state) == (False, "misconduct")


def test_an_unchanged_chain_sealed_anew_is_verified_and_unsigned(run: Path) -> None:
    """The chain alone shows damage, not forgery: this is what signatures are for."""
    found = _rewritten(run, lambda events: events)
    assert found.ok
    assert "unsigned" in found.sentence()


def test_a_signed_run_is_verified_by_its_key(here: Scaffold, signed: tuple[Path, str]) -> None:
    """With the right key it is verified and said to be signed; with another it is not."""
    _, line = signed
    assert "signed by the given key" in here("audit", "verify", "last", "--key", line).out
    other = here("audit", "key", "other.pem").out.strip()
    ran = here("audit", "verify", "last", "--key", other, "--json")
    assert (ran.status, ran.json["state"]) == (1, "wrong key")
    assert here("audit", "verify", "last", "--key", "nonsense+x+y").status == 2


def test_a_forged_signed_run_is_found(here: Scaffold, signed: tuple[Path, str]) -> None:
    """A chain sealed anew does not fit the signed heads; without its heads it is not signed."""
    run, line = signed
    assert _rewritten(run, _earlier).state == "altered"
    (run / "heads").unlink()
    assert here("audit", "verify", "last", "--key", line, "--json").json["state"] == "unsigned"


def test_a_run_rolled_back_is_found_with_a_head_kept_elsewhere(here: Scaffold, signed: tuple[Path, str]) -> None:
    """Cut back to an earlier state, heads and all, it does not reach the head that was kept."""
    run, _ = signed
    shutil.copy(run / "heads", "kept")
    lines = lines_of(run)
    (run / "trace.jsonl").write_bytes(b"".join(lines[:-2]))
    (run / "heads").unlink()
    ran = here("audit", "verify", "last", "--against", "kept", "--json")
    assert (ran.status, ran.json["state"]) == (1, "rolled back")


def test_the_private_key_is_its_owners_alone(here: Scaffold, folder: Path) -> None:
    """A new key is its owner's alone, is never overwritten, and is refused once others can read it."""
    here("audit", "key", "key.pem")
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert "never overwritten" in here("audit", "key", "key.pem").err
    (folder / "key.pem").chmod(0o644)
    assert "chmod 600" in here("solve", "pay.yaml", "--key", "key.pem").err


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("held", ["", "# the auditor's key\n"])
def test_a_file_without_a_key_verifies_nothing(here: Scaffold, folder: Path, held: str) -> None:
    """A file of --key in which nothing stands, as when making the key failed, is bad input, not an unchecked run."""
    (folder / "key.pub").write_text(held)
    said = here("audit", "verify", "last", "--key", "key.pub")
    assert (said.status, said.out) == (2, "")
    assert "the file of --key, key.pub, holds something else or nothing" in said.err


@pytest.mark.usefixtures("signed")
def test_a_private_key_given_to_check_with_is_not_repeated(here: Scaffold, folder: Path) -> None:
    """`verify --key` with the private key's file says what is wanted, and quotes nothing of the file."""
    said = here("audit", "verify", "last", "--key", "key.pem")
    assert said.status == 2
    assert "wanted are verifier lines" in said.err
    assert (folder / "key.pem").read_text().strip() not in said.err


def test_a_trace_reads_as_text(here: Scaffold, run: Path) -> None:
    """`audit show` tells each event in a line; `--brief` leaves decisions and actions."""
    shown = here("audit", "show", run.name).out.splitlines()
    assert len(shown) == len(lines_of(run))
    assert sum('performed pay(cents=900, invoice="A-1")' in line or "performed pay(" in line for line in shown) == 2
    brief = here("audit", "show", "last", "--brief").out
    assert "plan of 2 actions: allowed" in brief
    assert "review" not in brief
    first = json.loads(here("audit", "show", "last", "--json").out.splitlines()[0])
    assert first["content"]["task"]["prompt"] == "Pay the invoices"
