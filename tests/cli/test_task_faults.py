"""Whatever is wrong in a task file is one line that names the file, the line, the key and the nearest valid name."""

# ruff: noqa: E501 - the table of faults is read by its columns

from pathlib import Path

import pytest
from tests.cli.conftest import Scaffold

FAULTS = {
    "empty": ("", ":1: is empty"),
    "list": ("- a\n", ":1: should be a mapping"),
    "text": ("hello\n", ":1: should be a mapping"),
    "tab": ("prompt: x\nbudget:\n\ttokens: 5\n", ":3: there is a tab"),
    "key twice": ("prompt: a\ngoals: []\nprompt: b\n", ":3: prompt: appears twice; first on line 1"),
    "two colons": ("prompt: a: b\n", ":1: there is a second `: `"),
    "a key too far in": ("prompt: a\nbudget:\n  tokens: 5\n   usd: 2\n", "indent a key like the one above it"),
    "two documents": ("prompt: a\n---\nprompt: b\n", ":2: there is a second document"),
    "unknown alias": ("prompt: a\ninputs: {a: *x}\n", ":2: is not YAML"),
    "refers to itself": ("prompt: a\ninputs: &x {a: *x}\n", "refers to itself"),
    "too many digits": (f"prompt: a\ninputs: {{n: {'9' * 5000}}}\n", ":2: inputs.n: is a number with too many digits"),
    "half a letter": ('prompt: "\\ud800"\n', ":1: prompt: contains half of a surrogate pair"),
    "too deep to record": ("prompt: a\ninputs: {n: {file: deep.json}}\n", "deep.json: is nested too deeply"),
    "foreign tag": ("prompt: !py x\n", ":1: prompt: the tag '!py'"),
    "not a number": ("prompt: a\ninputs: {n: .nan}\n", ":2: inputs.n: .nan is not a number"),
    "unknown key": ("prompt: a\nplaner: x\n", ":2: planer: is not known; did you mean 'planner'?"),
    "unknown inner key": ("prompt: a\nbudget:\n  token: 5\n", ":3: budget.token: is not known; did you mean 'tokens'?"),
    "unknown key of a goal": ("prompt: a\ngoals:\n  - constrain: b\n", ":3: goals.0.constrain: is not known; did you mean 'constraint'?"),
    "goal of nothing": ("prompt: a\ngoals:\n  - {weight: 2}\n", ":3: goals.0: has no statement"),
    "two goals of one name": ("prompt: a\ngoals: [x, x]\n", ":2: goals: two goals are named 'x'"),
    "wrong type": ("prompt: a\nbudget:\n  tokens: many\n", ":3: budget.tokens: should be a valid integer"),
    "out of range": ("prompt: a\nbudget: {tokens: -1}\n", ":2: budget.tokens: should be greater than 0, not -1"),
    "a truth for a limit": ("prompt: a\nbudget:\n  usd: true\n", ":3: budget.usd: should be a number, not True"),
    "a truth for a weight": ("prompt: a\ngoals:\n  - objective: b\n    weight: true\n", ":4: goals.0.weight: should be a number, not True"),
    "longer than there are dates": ("prompt: a\noversight: {approval_timeout_s: 1.0e+12}\n", ":2: oversight.approval_timeout_s: should be less than or equal to 10000000000, not"),
    "goal without words": ("prompt: a\ngoals:\n  - x\n  - constraint: ''\n    rule: 1 == 1\n", ":4: goals.1: has an empty statement: say what is wanted"),
    "no prompt": ("goals: []\n", ":1: prompt: is missing"),
    "blank prompt": ("prompt: ' '\n", ":1: prompt: is empty"),
    "answer": ("prompt: a\nanswer: intger\n", ":2: answer: should be text, integer"),
    "rule": ("prompt: a\ngoals:\n  - x\n  - constraint: y\n    rule: args.a ==\n", ":5: goals.1.rule: "),
    "rule unread": ("prompt: a\nmonitors: []\ngoals:\n  - constraint: y\n    rule: 1 == 1\n", ":4: goals.0: has a rule, but no monitor"),
    "planner": ("prompt: a\nplanner: dirct\n", ":2: planner: no planner named 'dirct'; did you mean 'direct'?"),
    "planner's module": ("prompt: a\nplanner: tols:paying\n", ":2: planner: there is no module 'tols'"),
    "planner's function": ("prompt: a\nplanner: tools:payin\n", ":2: planner: 'tools' has no 'payin'; did you mean 'paying'?"),
    "planner with dots": ("prompt: a\nplanner: tools.paying\n", ":2: planner: no planner named 'tools.paying' (installed: "),
    "planner with dots, the cure": ("prompt: a\nplanner: tools.paying\n", "; write MODULE:NAME for one of your own"),
    "action after a space": ("prompt: a\nactions:\n  - tools: pay\n", ':3: actions.0.tools: write "tools:pay" in quotes, without a space after the colon'),
    "monitor after a space": ("prompt: a\nmonitors:\n  - tools: Brief\n", (':3: monitors.0.tools: should have its settings as a mapping; for a monitor of your own write "tools:Brief" '
                                                                          'in quotes, without a space after the colon')),
    "indentation": ("prompt: a\ngoals:\n  - x\n - y\n", ":4: is not indented like anything above it"),
    "quotation marks": ('prompt: "a\nanswer: text\nplanner: "direct"\n', ":3: there is text after the quotation mark that ends a value"),
    "a sign of YAML's": ("prompt: a\nanswer: @x\n", (":2: is not YAML: found character '@' that cannot start any token; put text that begins with this character "
                                                    "in quotes")),
    "policy": ("prompt: a\npolicy: polcy.yaml\n", ":2: policy: there is no file 'polcy.yaml'"),
    "no planner": ("prompt: a\nplanner: tools:PAID\n", ":2: planner: "),
    "planner's key": ("prompt: a\nplanner:\n  use: direct\n  optons: {}\n", ":4: planner.optons: is not known; did you mean 'options'?"),
    "planner as monitors are written": ("prompt: a\nplanner:\n  direct: {votes: 3}\n", ":3: planner.direct: is not known; write `planner: {use: direct, options: {...}}`"),
    "planner's option beside it": ("prompt: a\nplanner: {use: direct, votes: 3}\n", "expected one of use, options; a planner's own settings belong under `options`"),
    "planner's option of another type": ("prompt: a\nplanner: {use: direct, options: {votes: many}}\n", "planner.options.votes: should be a valid integer, unable to parse string as an integer, not 'many'"),
    "planner's option": ("prompt: a\nplanner:\n  use: tools:paying\n  options: {x: 1}\n", ":4: planner.options: "),
    "broken plug-in": ("prompt: a\nplanner: broken\n", ":2: planner: the planner 'broken' of asker 1.0 cannot be loaded"),
    "monitor": ("prompt: a\nmonitors:\n  - rules\n  - ruls\n", ":4: monitors.1: no monitor named 'ruls'; did you mean 'rules'?"),
    "monitor's setting": ("prompt: a\nmonitors:\n  - rules\n  - budget: {x: 1}\n", ":4: monitors.budget: "),
    "monitors no list": ("prompt: a\nmonitors: rules\n", ":2: monitors: should be a list"),
    "backend": ("prompt: a\nbackends:\n  default: scriptd\n", ":3: backends.default: no backend named 'scriptd'; did you mean 'scripted'?"),
    "the default backend": ("prompt: a\nbackends:\n  defualt: {use: scripted, replies: x}\n", ":3: backends.defualt: is another role, and there is no default; did you mean 'default'?"),
    "backend of nothing": ("prompt: a\nbackends:\n  default: {model: x}\n", ":3: backends.default: needs `use`"),
    "monitor's setting of another type": ("prompt: a\nmonitors: [{loop: {steps: many}}]\n", ":2: monitors.loop.steps: should be a whole number, not 'many'"),
    "a number for a list": ("prompt: a\nmonitors: [{scope: {always: 7}}]\n", ":2: monitors.scope.always: should be a list, not 7"),
    "a number for rules": ("prompt: a\nmonitors:\n  - rules: {rules: 7}\n", ":3: monitors.rules.rules: should be a list, not 7"),
    "a list for one of two words": ("prompt: a\nmonitors: [{goals: {consequences: [asked]}}]\n", "should be `stated` or `asked`, not ['asked']"),
    "a list for a word": ("prompt: a\nmonitors: [{latent: {decision: [flag]}}]\n", "decision should be flag, resample or escalate, not ['flag']"),
    "a limit below all": ("prompt: a\nmonitors: [{loop: {steps: 0}}]\n", ":2: monitors.0: the setting 'steps' of monitor 'loop' should be at least 1, not 0"),
    "a list for a dialect": ("prompt: a\nbackends:\n  default: {use: 'http://127.0.0.1:1/v1#x', dialect: [chat]}\n", ":3: backends.default.dialect: "),
    "a truth for a backend's number": ("prompt: a\nbackends:\n  default: {use: 'http://127.0.0.1:1/v1#x', attempts: true}\n", "default.attempts: option of http: should be a number, not True"),
    "a truth for a backend's number or nothing": ("prompt: a\nbackends:\n  default: {use: 'http://127.0.0.1:1/v1#x', context: true}\n", "default.context: option of http: should be a number, not True"),
    "a truth for a number": ("prompt: a\nmonitors: [{loop: {steps: true}}]\n", ":2: monitors.loop.steps: should be a whole number, not True"),
    "backend's option": ("prompt: a\nbackends:\n  default: {use: scripted, reply: x}\n", ":3: backends.default: the backend 'scripted' cannot be made with these settings: got an unexpected keyword argument 'reply'; did you mean 'replies'?"),
    "backend's options": ("prompt: a\nbackends: {default: {use: scripted, options: {}}}\n", "'options'; it takes replies"),
    "backend's replies": ("prompt: a\nbackends:\n  default:\n    use: scripted\n    replies: [1]\n", ":5: backends.default.replies: a reply is text"),
    "action": ("prompt: a\nactions: [tools:payy]\n", ":2: actions.0: 'tools' has no 'payy'; did you mean 'pay'?"),
    "no action": ("prompt: a\nactions:\n  - tools:not_an_action\n", ":3: actions.0: 'tools:not_an_action' is not an action"),
    "action without a name": ("prompt: a\nactions: [pay]\n", ":2: actions.0: 'pay' does not name an action"),
    "broken module": ("prompt: a\nactions: [broken:pay]\n", ":2: actions.0: 'broken' cannot be imported: ZeroDivisionError"),
    "missing file": ("prompt: a\ninputs:\n  s: {file: invoces.csv}\n", ":3: inputs.s.file: there is no file 'invoces.csv'; did you mean 'invoices.csv'?"),
    "unknown kind of file": ("prompt: a\ninputs:\n  s: {file: x.pdf}\n", ":3: inputs.s.file: 'x.pdf' has a type that cannot be read"),
    "device": ("prompt: a\ninputs:\n  s: {file: endless.txt}\n", ":3: inputs.s.file: 'endless.txt' is not a regular file"),
    "misspelt untrusted": ("prompt: a\ninputs:\n  s: {file: invoices.csv, untrused: true}\n", ":3: inputs.s.untrused: is not known; did you mean 'untrusted'?"),
    "untrusted value": ("prompt: a\ninputs:\n  s: {text: hello, untrusted: true}\n", ":3: inputs.s.untrusted: has no `file` beside it: to mark a value, list its name under the task's `untrusted`"),
    "untrusted what": ("prompt: a\ninputs: {letter: x}\nuntrusted: [leter]\n", ":3: untrusted.0: there is no input 'leter'; did you mean 'letter'?"),
    "ragged table": ("prompt: a\ninputs:\n  s: {file: ragged.csv}\n", "ragged.csv:3: has 3 fields"),
    "broken JSON": ("prompt: a\ninputs:\n  s: {file: broken.json}\n", "broken.json:2: is not JSON"),
    "sampling": ("prompt: a\nsampling:\n  ahed_by: 2\n", ":3: sampling.ahed_by: is not known; did you mean 'ahead_by'?"),
    "sampling cut short": ("prompt: a\nsampling: maj\n", ":2: sampling.maj: is not known; did you mean 'majority'?"),
    "sampling's number": ("prompt: a\nsampling: {majority: two}\n", ":2: sampling.majority: should be a whole number"),
    "a cap that decides nothing": ("prompt: a\nsampling: {majority: 5, cap: 3}\n", ":2: sampling.cap: should be at least 5: no fewer samples can decide"),
    "more samples than memory": ("prompt: a\nsampling: {majority: 100000000000}\n", ":2: sampling.majority: should be 10,000 at most"),
    "prompts": ("prompt: a\nprompts: here\n", ":2: prompts: there is no folder 'here'"),
    "goal of two kinds": ("prompt: a\ngoals:\n  - principle: be kind\n    constraint: be quick\n", ":3: goals.0: has both `constraint` and `principle`: a goal has one kind; make it two goals"),
    "goal with a statement beside its kind": ("prompt: a\ngoals:\n  - objective: be kind\n    statement: be quick\n", ":3: goals.0: has both `objective` and `statement`"),
    "key of a rule in settings": ("prompt: a\nmonitors:\n  - rules:\n      rules:\n        - rul: 'true'\n          statement: b\n", ":5: monitors.rules.rules.0.rul: is not known; did you mean 'rule'?"),
    "rules that are no list": ("prompt: a\nmonitors:\n  - rules: {rules: 'true'}\n", ":3: monitors.rules.rules: should be a list, such as [{rule: ..., statement: ...}]"),
    "setting of a probe": ("prompt: a\nmonitors:\n  - consistency: {shar: 0.1}\n", ":3: monitors.consistency.shar: is not known; did you mean 'share'?"),
    "tag on a mapping": ("prompt: a\ninputs:\n  s: !vault {path: x}\n", ":3: inputs.s: the tag '!vault' is not supported here"),
    "tag on a list": ("prompt: a\ninputs:\n  s: !!set [x]\n", ":3: inputs.s: the tag 'tag:yaml.org,2002:set' is not supported here"),
    "step without what it is to do": ("prompt: a\nplanner:\n  use: workflow\n  options:\n    steps:\n      - id: a\n        instruktion: x\n", ":7: planner.options.steps.0.instruktion: is not known; did you mean 'instruction'?"),
    "judge without a model": ("prompt: a\nmonitors: [goals]\ngoals: [x]\n", "the monitor 'goals' needs a backend"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_line(here: Scaffold, folder: Path, fault: str) -> None:
    """The message says where the fault is and what may have been meant, nothing is run, and the status is 2."""
    text, said = FAULTS[fault]
    (folder / "task.yaml").write_text(text)
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    (folder / "broken.json").write_text('{\n"a": }')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "endless.txt").symlink_to("/dev/zero")
    ran = here("solve", "task.yaml")
    assert (ran.status, ran.out) == (2, "")
    (line,) = (line for line in ran.err.splitlines() if line.startswith("error: "))
    assert said in line
    assert not (folder / ".scaffold").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("solve", "nothing.yaml"), "error: nothing.yaml: no such file"),
        (("solve", "."), "is a folder"),
        (("solve", "latin.yaml"), "is not UTF-8"),
        (("solve",), "Missing argument"),
        (("sovle",), "no command 'sovle'; did you mean 'solve'?"),
        (("solve", "think.yaml", "--input", "x"), "'x' is not name=value"),
        (
            ("solve", "think.yaml", "--backend", "scriptd"),
            "error: no backend named 'scriptd'; did you mean 'scripted'?",
        ),
        (
            ("solve", "think.yaml", "--backend", "openai:http://127.0.0.1:99999/v1#m"),
            "error: the backend 'openai:http://127.0.0.1:99999/v1#m': base_url: ",
        ),
        (
            ("solve", "think.yaml", "--backend", "openai:gpt-5-mini"),
            "error: https://api.openai.com/v1 needs a key: set the environment variable OPENAI_API_KEY",
        ),
        (("solve", "think.yaml", "--monitor", "ruls"), "no monitor named 'ruls'"),
        (("solve", "think.yaml", "--key", "none.pem"), "cannot read the signing key none.pem"),
        (("resume", "last"), "no run 'last'"),
        (("stop",), "name one RUN, or give --all"),
        (("solve", "think.yaml", "--runs", ""), "is empty: name a place"),
        (("solve", "think.yaml", "--runs", "mysql://u:secret@h/db"), "runs cannot be kept at mysql://: name a folder"),
        (("audit", "verify", "x"), "no run 'x'"),
        (("approvals", "show", "x", "y"), "no run 'x'"),
        (("models", "pull", "x"), "no model named 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_on_the_command_line_is_bad_input(
    here: Scaffold, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """What is wrong on the command line is told in words, with status 2."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (folder / "latin.yaml").write_bytes(b"prompt: \xff\n")
    ran = here(*arguments)
    assert ran.status == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_fault_of_the_environment_names_no_place_in_the_file(
    here: Scaffold, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key for content is read as the agent is made, and whoever looks for its fault in the file looks in vain."""
    (folder / "task.yaml").write_text("prompt: a\nbackends: scripted:x\n", encoding="utf-8")
    monkeypatch.setenv("SCAFFOLD_CONTENT_KEY", "abc")
    said = here("solve", "task.yaml")
    assert said.status == 2
    assert said.err.startswith("error: $SCAFFOLD_CONTENT_KEY is not a key")


def test_inputs_are_read_by_their_ending(folder: Path) -> None:
    """A table is a list of rows, JSON and YAML are values, the rest is text; what is untrusted is tainted."""
    from scaffold import taskfile

    (folder / "a.json").write_text('{"n": [1]}')
    (folder / "b.yaml").write_text("n: 2026-01-01\n")
    (folder / "c.md").write_text("# Read me\n")
    text = "prompt: a\ninputs:\n  t: {file: invoices.csv, untrusted: true}\n  j: {file: a.json}\n  y: {file: b.yaml}\n  m: {file: c.md}\n  v: {w: 1}\n"
    (folder / "task.yaml").write_text(text)
    task = taskfile.build("task.yaml").task
    assert task.inputs == {
        "t": [{"invoice": "A-1", "cents": "900"}, {"invoice": "A-2", "cents": "99"}],
        "j": {"n": [1]},
        "y": {"n": "2026-01-01"},
        "m": "# Read me\n",
        "v": {"w": 1},
    }
    assert task.untrusted == ("t",)


def test_an_input_on_the_command_line_that_is_no_json_is_text() -> None:
    """What only Python would read as JSON, or cannot read at all, is taken as it was typed."""
    from scaffold.cli.options import by_name

    deep = "[" * 100_000
    assert by_name(["a=NaN", f"b={deep}", "c=[1]"]) == {"a": "NaN", "b": deep, "c": [1]}


def test_an_input_that_the_trace_cannot_hold_begins_no_run(here: Scaffold, folder: Path) -> None:
    """It is named with its line, with status 2, and nothing is left behind."""
    ran = here("solve", "think.yaml", "--input", "x=" + "[" * 900 + "]" * 900)
    assert ran.status == 2
    assert "inputs.x: cannot be recorded" in ran.err
    ran = here("solve", "think.yaml", "--input", 'x={"a": [1e999]}')
    assert (ran.status, "inputs.x: inf is not a number that can be recorded" in ran.err) == (2, True)
    assert not (folder / ".scaffold").exists()


def test_the_schema_accepts_what_the_reader_accepts(here: Scaffold) -> None:
    """`scaffold schema` knows every key that a task file may have, and no other."""
    from scaffold.settings import AGENT_KEYS
    from scaffold.vocabulary.task import Task

    made = here("schema").json
    assert set(made["properties"]) == {*Task.model_fields, *AGENT_KEYS}
    assert made["additionalProperties"] is False


def test_the_schema_says_what_each_key_is_for(here: Scaffold) -> None:
    """An editor has something to show for every key, in one paragraph."""
    made = here("schema").json
    server = made["properties"]["actions"]["items"]["anyOf"][1]["properties"]["mcp"]["additionalProperties"]
    goal = made["$defs"].pop("Goal")["anyOf"][-1]
    for part in (made, goal, server, *made["$defs"].values()):
        assert "Attributes:" not in part["description"]
        unsaid = [name for name, said in part["properties"].items() if not said.get("description")]
        assert not unsaid, part["title"]


def test_what_init_writes_can_be_solved(here: Scaffold) -> None:
    """A new task runs as it stands; a second `init` overwrites nothing."""
    assert here("init", "new").status == 0
    assert here("solve", "new/task.yaml", "--backend", "scripted:positive").out == "positive\n"
    again = here("init", "new")
    assert again.status == 2
    assert "already exists: nothing was written" in again.err


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("{use: 'http://bob:hunter22@127.0.0.1:9/v1#m', attempts: 1}", True),
        ("{use: 'ollama:http://127.0.0.1:9/v1?api-key=abc#m', attempts: 1}", True),
        ("{use: 'http://127.0.0.1:9/v1?api-version=2025-01-01#m', attempts: 1}", False),
        ("{use: 'http://bob@127.0.0.1:9/v1#m', attempts: 1}", False),
        ("{use: fallback, backends: ['scripted:yes', 'http://bob:hunter22@127.0.0.1:9/v1#m']}", True),
        ("{use: noisy, rate: 0.0, backend: {use: 'http://bob:hunter22@127.0.0.1:9/v1#m', attempts: 1}}", True),
    ],
)
def test_a_password_in_a_backends_url_is_warned_of(here: Scaffold, folder: Path, said: str, *, warned: bool) -> None:
    """The run's first event says how its backends are built; the password is not in the warning."""
    (folder / "task.yaml").write_text(f"prompt: x\nplanner: direct\nbackends: {{default: {said}}}\n")
    run = here("solve", "task.yaml")
    assert ("which will also be in the trace" in run.err) == warned
    assert "hunter22" not in run.err
