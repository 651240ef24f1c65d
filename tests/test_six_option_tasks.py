"""The five tasks of arXiv 2401.12794: files, worked examples, prompts, and the split that its analysis uses."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from support.six_options import FILES, record, write

from suite.cli import main
from suite.config import Protocol
from suite.errors import SuiteError
from suite.metrics.sample import Sample
from suite.score.prompt import render
from suite.score.sheet import make_sheet
from suite.task import Question, Task
from suite.tasks import TASKS, get_task, ye2024
from suite.tasks.six_option_file import WORDINGS

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"
ORDER_FILE = SHARED_DATA / "lub_mmlu_10k.jsonl.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small stand-ins of the five files, named in SUITE_DATA."""
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(ye2024, "PUBLISHED", {})
    for name, source, _ in FILES.values():
        write(tmp_path, name, [record(row, source) for row in range(24)])
    return tmp_path


@pytest.mark.parametrize("short", FILES)
class TestStandIns:
    def test_rows_become_items_and_worked_examples_are_never_scored(self, folder: Path, short: str) -> None:
        rows = FILES[short][2]
        task = get_task(f"ye2024-{short}")
        items = task.load()
        assert [item.id for item in items] == [str(row) for row in range(24) if row not in rows]
        assert task.demonstrations is not None
        assert [item.id for item in task.demonstrations()] == [str(row) for row in rows]
        for shots in (0, 1, len(rows)):
            sheet = make_sheet(task, shots=shots)
            assert [item.id for item in sheet.questions] == [item.id for item in items]
        with pytest.raises(SuiteError, match=f"{len(rows) + 1} shots asked for, but it has {len(rows)} demonstrations"):
            make_sheet(task, shots=len(rows) + 1)

    def test_the_published_split_is_kept(self, folder: Path, short: str) -> None:
        """Folds of the cell that lacks the worked examples are those of the whole file, by row number."""
        task = get_task(f"ye2024-{short}")
        ids = [item.id for item in task.load()]
        kept = np.setdiff1d(np.arange(24), (1, 3, 5, 7, 9))
        calibrating, testing = train_test_split(kept, train_size=0.5, random_state=42)
        folds = Sample(ids, ids, Protocol("ye2024"), task.dropped_ids).folds
        assert [int(ids[row]) for row in folds.conformal[0]] == calibrating.tolist()
        assert [int(ids[row]) for row in folds.test[0]] == testing.tolist()

    def test_the_revision_is_the_hash_of_the_items(self, folder: Path, short: str) -> None:
        name, source, _ = FILES[short]
        before = get_task(f"ye2024-{short}").revision
        write(folder, name, [record(row, source) for row in range(24)], indent=None)
        assert get_task(f"ye2024-{short}").revision == before
        write(folder, name, [record(row, source) | ({"answer": "D"} if row == 20 else {}) for row in range(24)])
        assert get_task(f"ye2024-{short}").revision != before

    def test_the_description(self, folder: Path, short: str) -> None:
        task = TASKS[f"ye2024-{short}"]
        assert task.items == 10_000 - len(FILES[short][2])
        assert (task.options, task.scoring, task.paper) == ("6", "letter", "arXiv:2401.12794")
        assert f"{FILES[short][0]}.json" in task.needs

    def test_a_missing_file_is_one_line_that_says_what_to_fetch(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
    ) -> None:
        monkeypatch.setenv("SUITE_DATA", str(tmp_path))
        with pytest.raises(SuiteError) as caught:
            get_task(f"ye2024-{short}")
        message = str(caught.value)
        assert "\n" not in message
        assert f"fetch {FILES[short][0]}.json from the data set ErikYip/LLM-Uncertainty-Bench" in message
        assert "SUITE_DATA=FOLDER" in message

    def test_the_hub_is_asked_when_no_folder_has_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
    ) -> None:
        """A stand-in of the hub's client that hands out a local file."""
        import huggingface_hub

        name, source, _ = FILES[short]
        path = write(tmp_path, name, [record(row, source) for row in range(24)])
        asked: list[dict[str, Any]] = []

        def download(**options: Any) -> str:
            asked.append(options)
            return str(path)

        monkeypatch.delenv("SUITE_DATA", raising=False)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr(ye2024, "PUBLISHED", {})
        assert len(get_task(f"ye2024-{short}").load()) == 24 - len(FILES[short][2])
        assert {(ask["repo_id"], ask["filename"], ask["repo_type"]) for ask in asked} == {
            ("ErikYip/LLM-Uncertainty-Bench", f"{name}.json", "dataset")
        }
        assert {ask["revision"] for ask in asked} == {"main"}
        monkeypatch.setenv("SUITE_HUB_REVISION", "0123abc")
        get_task(f"ye2024-{short}")
        assert asked[-1]["revision"] == "0123abc"


def test_a_hub_that_no_network_leads_to_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five files of one data set: the hub is asked for the first."""
    import huggingface_hub

    from suite import hub

    asked: list[str] = []

    def repo_info(self: object, repository: str, **_: Any) -> None:
        asked.append(repository)
        raise OSError("no route to host")

    monkeypatch.delenv("SUITE_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    monkeypatch.setattr(hub, "_out_of_reach", {})
    for short in FILES:
        with pytest.raises(SuiteError, match=r"the hub did not give it \(no answer from \S+\)|no route to host"):
            get_task(f"ye2024-{short}")
    assert asked == ["ErikYip/LLM-Uncertainty-Bench"]


class TestPinned:
    """Data that differs from what the published figures are about is refused under the published name."""

    def refused(self, folder: Path, short: str) -> str:
        with pytest.raises(SuiteError) as caught:
            get_task(f"ye2024-{short}")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.fixture
    def pinned(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The stand-ins are the published data: 24 rows, answers A to D in turn."""
        digest = hashlib.sha256(b"ABCD" * 6).hexdigest()
        monkeypatch.setattr(ye2024, "PUBLISHED", {short: ye2024.Pin(digest) for short in ("qa", "drs", "ds")})
        monkeypatch.setattr(ye2024, "ROWS", 24)
        return folder

    @pytest.mark.parametrize("short", ["qa", "drs", "ds"])
    def test_one_other_answer_is_refused_and_how_to_go_on_works(self, pinned: Path, short: str) -> None:
        name, source, _ = FILES[short]
        get_task(f"ye2024-{short}")
        changed = [record(row, source) | ({"answer": "D"} if row == 20 else {}) for row in range(24)]
        path = write(pinned, name, changed)
        message = self.refused(pinned, short)
        assert message.startswith(f"{path}: its right answers are not those of the published data of ye2024-{short}")
        assert "--task FOLDER/NAME.json" in message
        assert get_task(str(path)).name == name

    def test_another_number_of_questions_is_refused(self, pinned: Path) -> None:
        write(pinned, "halu_dialogue", [record(row, "Halu-OpenDialKG") for row in range(20)])
        assert "it has 20 questions where the published data of ye2024-drs has 24" in self.refused(pinned, "drs")

    @pytest.mark.parametrize("short", ["rc", "ci"])
    def test_tasks_without_published_answers_say_so(
        self, pinned: Path, short: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name, source, _ = FILES[short]
        write(pinned, name, [record(row, source) | {"answer": "D"} for row in range(24)])
        get_task(f"ye2024-{short}")
        assert main(["list", "tasks"]) == 0
        lines = {line.partition("\t")[0]: line for line in capsys.readouterr().out.splitlines()}
        assert "not pinned" in lines[f"ye2024-{short}"]
        assert "answers are pinned" in lines["ye2024-drs"]

    @pytest.mark.parametrize("short", ["qa", "drs", "ds"])
    def test_the_pins_are_those_of_the_published_answers(self, short: str) -> None:
        file = SHARED_DATA.parent / "published" / f"{short}.npz"
        if not file.is_file():
            pytest.skip(f"{file.name} is not there")
        with np.load(file, allow_pickle=False) as stored:
            letters = "".join("ABCDEF"[answer] for answer in stored["answers"])
        assert len(letters) == ye2024.ROWS
        assert hashlib.sha256(letters.encode()).hexdigest() == ye2024.PUBLISHED[short].answers


class TestGrouping:
    def test_items_with_one_passage_are_together(self, folder: Path) -> None:
        records = [record(row, "CosmosQA") for row in range(24)]
        records[10]["context"] = records[20]["context"]
        write(folder, "cosmosqa_10k", records)
        groups = {item.id: item.group for item in get_task("ye2024-rc").load() if item.group}
        name = "context-" + hashlib.sha256(b"Bell 20 is made of metal.").hexdigest()[:12]
        assert groups == {"10": name, "20": name}


QUESTION = "Question: What is bell 2 made of?\nChoices:\nA. iron\nB. the moon\nC. light\nD. stone 2\nE. I don't know\n"
QUESTION += "F. None of the above\nAnswer:"
EXAMPLE = QUESTION.replace(" 2", " 9") + " B\n"
CLOSING = "\nNow make your best effort and select the correct answer for the following question. "
CLOSING += "You only need to output the option.\n\n"
PASSAGE = {"qa": "", "rc": "Context", "ci": "Context", "drs": "Dialogue", "ds": "Document"}
ZERO = {
    "qa": "question answering. You should answer the question based on your world knowledge and problem solving "
    "ability.",
    "rc": "reading comprehension. You should answer the question based on the given context and you can use "
    "commonsense reasoning when necessary.",
    "ci": "commonsense natural language inference. You are given a context and you should choose the most likely "
    "follow-up.",
    "drs": "dialogue response selection. You are given a dialogue history and you should select the best and correct "
    "response without hallucination and non-factual information.",
    "ds": "document summarization. You are given a document and you should select the best and correct summary without "
    "hallucination and non-factual information.",
}
FEW = {
    "qa": "question answering. Each question should be answered based on your world knowledge and problem solving "
    "ability.",
    "rc": "reading comprehension. Each question should be answered based on the given context and commonsense "
    "reasoning when necessary.",
    "ci": "commonsense natural language inference. For each question, there is a given context and the answer is the "
    "option that most likely follows the context.",
    "drs": "dialogue response selection. For each question, the answer is the option that represents the most suitable "
    "response for the given dialogue history, without hallucination and non-factual information.",
    "ds": "document summarization. For each question, the answer is the option that accurately summarizes the given "
    "document without hallucination and non-factual information.",
}
SHARED_ZERO = "The following is a multiple-choice question with six potential answers. Only one of these options is "
SHARED_ZERO += (
    "correct. Please make your best effort and select the correct answer. You only need to output the option.\n\n"
)
SHARED_FEW = (
    "Below are some examples of multiple-choice questions with six potential answers. For each question, only one "
)
SHARED_FEW += "option is correct.\n\n"


def golden(short: str, style: str, examples: bool) -> str:
    """The whole prompt of row 2 as the benchmark's paper and repository lay it out."""

    def block(text: str, row: int) -> str:
        lead = PASSAGE[short]
        return (f"{lead}: Bell {row} is made of metal.\n" if lead else "") + text

    body = (
        (block(EXAMPLE, 9) if examples else "") + (CLOSING if examples and style != "base" else "") + block(QUESTION, 2)
    )
    if style == "base":
        return body
    if style == "shared":
        return (SHARED_FEW if examples else SHARED_ZERO) + body
    if examples:
        return f"Below are some examples of multiple-choice questions about {FEW[short]}\n\n" + body
    start = f"The following is a multiple-choice question about {ZERO[short]} You only need to output the option.\n\n"
    return start + body


@pytest.mark.parametrize("examples", [False, True], ids=["zero-shot", "one-shot"])
@pytest.mark.parametrize("style", ["base", "shared", "task"])
@pytest.mark.parametrize("short", FILES)
def test_golden_prompts(folder: Path, short: str, style: str, examples: bool) -> None:
    task = get_task(f"ye2024-{short}")
    item = next(item for item in task.load() if item.id == "2")
    assert task.demonstrations is not None
    nine = [demo for demo in task.demonstrations() if demo.id == "9"]
    text = render(task, item, scoring="letter", prompt=style, demonstrations=nine if examples else [])
    assert text.context == golden(short, style, examples)
    assert text.continuations == (" A", " B", " C", " D", " E", " F")


def test_several_worked_examples_follow_one_another_without_an_empty_line(folder: Path) -> None:
    sheet = make_sheet(get_task("ye2024-drs"), prompt="base", shots=3)
    context = sheet.rendered[0].context
    assert [line for line in context.split("\n") if line.startswith("Answer:")] == [
        "Answer: B",
        "Answer: D",
        "Answer: B",
        "Answer:",
    ]
    assert "\n\n" not in context


def with_choices(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(old: dict[str, Any]) -> dict[str, Any]:
        choices = {label: text for label, text in (old["choices"] | changes).items() if text is not None}
        return old | {"choices": choices}

    return change


BAD: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (with_choices(C=None), "has no option C; six are needed, A to F"),
    (with_choices(G="more"), "they must be A to F"),
    (with_choices(B="  "), "choice 1 is empty"),
    (with_choices(B=["x"]), "an option is no text"),
    (lambda old: old | {"choices": {"A": "only"}}, "has no option B"),
    (lambda old: old | {"choices": ["iron"]}, "'choices' must be an object"),
    (lambda old: old | {"answer": "G"}, "answer 'G' is none of its options A to F"),
    (lambda old: old | {"answer": 2}, "answer 2 is none of its options A to F"),
    (lambda old: old | {"question": " "}, "has an empty question"),
    (lambda old: old | {"question": "", "context": "A passage."}, "has an empty question"),
    (lambda old: old | {"choices": {str(n): str(n) for n in range(27)}}, "has no option A; six are needed"),
    (lambda old: old | {"question": 7}, "'question' must be text"),
    (lambda old: old | {"id": True}, "'id' must be text or a whole number"),
    (lambda old: old | {"id": 0}, "duplicate id '0', first used at"),
    (lambda old: old | {"source": "SQuAD"}, "unknown source 'SQuAD'"),
    (lambda old: old | {"source": "CosmosQA"}, "source 'CosmosQA' in a file that began with 'MMLU'"),
    (lambda old: {key: value for key, value in old.items() if key != "answer"}, "missing field 'answer'"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD)
def test_bad_data_is_refused_with_its_line(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], complaint: str
) -> None:
    records = [record(row, "MMLU") for row in range(24)]
    records[13] = change(records[13])
    path = write(folder, "mmlu_10k", records)
    # the line on which the 14th object of the list opens
    line = [number for number, text in enumerate(path.read_text().split("\n"), 1) if text == " {"][13]
    with pytest.raises(SuiteError) as caught:
        get_task("ye2024-qa")
    message = str(caught.value)
    assert complaint in message
    assert message.startswith(f"{path}:{line}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: expected a JSON list"),
        ('{"id": 0}', ":1: expected a JSON list"),
        ("[", ":1: not valid JSON"),
        ("[\n3]", ":2: expected a JSON object, found int"),
        ("[\n" + json.dumps(record(0, "MMLU")), ":2: not valid JSON (the list is not closed"),
        ("[]", "no questions in it"),
    ],
)
def test_a_file_that_is_no_list_of_objects(folder: Path, text: str, complaint: str) -> None:
    (folder / "mmlu_10k.json").write_text(text)
    with pytest.raises(SuiteError) as caught:
        get_task("ye2024-qa")
    assert complaint in str(caught.value)


def test_too_few_questions_for_the_worked_examples(folder: Path) -> None:
    write(folder, "mmlu_10k", [record(row, "MMLU") for row in range(10)])
    with pytest.raises(SuiteError, match="10 questions are too few: rows 1, 3, 5, 7, 9"):
        get_task("ye2024-qa")


def test_ids_that_are_no_row_numbers(folder: Path) -> None:
    write(folder, "mmlu_10k", [record(row, "MMLU") | {"id": row + 1} for row in range(24)])
    with pytest.raises(SuiteError, match="ids are not the row numbers 0 to 23"):
        get_task("ye2024-qa")


def test_the_file_of_another_task(folder: Path) -> None:
    write(folder, "mmlu_10k", [record(row, "HellaSwag") for row in range(24)])
    with pytest.raises(SuiteError, match="its questions come from HellaSwag, those of ye2024-qa from MMLU"):
        get_task("ye2024-qa")


def test_identical_options_stay_in_the_published_file_and_are_refused_in_ones_own(folder: Path) -> None:
    records = [record(row, "MMLU") for row in range(24)]
    records[13]["choices"]["B"] = records[13]["choices"]["A"]
    write(folder, "mmlu_10k", records)
    assert {item.id for item in get_task("ye2024-qa").load() if "identical-options" in item.slices} == {"13"}
    mine = write(folder, "mine", records)
    with pytest.raises(SuiteError, match=r"mine\.json:\d+: item '13' has two identical choices"):
        get_task(str(mine))


@pytest.mark.parametrize("short", FILES)
def test_only_sources_that_ask_nothing_may_come_without_a_question(folder: Path, short: str) -> None:
    name, source, _ = FILES[short]
    path = write(folder, name, [record(row, source) | ({"question": ""} if row == 13 else {}) for row in range(24)])
    if short in ("qa", "rc"):
        with pytest.raises(SuiteError, match=r"item '13' has an empty question"):
            get_task(f"ye2024-{short}")
    else:
        item = next(item for item in get_task(f"ye2024-{short}").load() if item.id == "13")
        assert (item.question, item.context) == ("", "Bell 13 is made of metal.")
    with pytest.raises(SuiteError, match=r":\d+: item '13' has an empty question"):
        get_task(str(path))


def test_a_file_of_ones_own(folder: Path) -> None:
    path = write(folder, "mine", [record(row, "Halu-OpenDialKG") | {"id": f"d{row}"} for row in range(24)])
    task = get_task(str(path))
    assert (task.name, task.kind, task.scoring, len(task.load())) == ("mine", "dialogue", "letter", 21)
    assert make_sheet(task, prompt="task", shots=3).rendered[0].context.count("Dialogue: ") == 4
    with pytest.raises(SuiteError, match="'mmlu' is a built-in task"):
        get_task(str(folder / "mmlu.json"))


def test_every_wording_has_its_own_golden_prompt() -> None:
    assert {source for _, source, _ in FILES.values()} == set(WORDINGS)


needs_order = pytest.mark.skipif(not ORDER_FILE.is_file(), reason=f"{ORDER_FILE.name} is not there")


@needs_order
class TestRebuiltFromEmbeddedText:
    @pytest.fixture
    def task(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
        """The order alone: everything else in the file is taken away."""
        lines = gzip.decompress(ORDER_FILE.read_bytes()).decode().strip().split("\n")
        order = [json.dumps({"mmlu_id": json.loads(line)["mmlu_id"]}) for line in lines]
        (tmp_path / "mmlu_10k_order.jsonl").write_text("\n".join(order))
        monkeypatch.setenv("SUITE_DATA", str(tmp_path))
        return get_task("ye2024-qa")

    def test_every_question_is_the_benchmarks(self, task: Task) -> None:
        rows = [json.loads(line) for line in gzip.decompress(ORDER_FILE.read_bytes()).decode().strip().split("\n")]
        assert task.demonstrations is not None
        items = {item.id: item for item in (*task.load(), *task.demonstrations())}
        assert len(items) == 10_000
        for row in rows:
            item = items[str(row["id"])]
            theirs = (row["question"], tuple(row["choices"]), row["answer_index"])
            assert (item.question, item.choices, item.answer) == theirs

    def test_its_items_are_the_pinned_ones(self, task: Task) -> None:
        assert task.revision == f"sha256:{ye2024.PUBLISHED['qa'].items}"

    def test_two_questions_exchanged_are_refused(self, task: Task, tmp_path: Path) -> None:
        """Rows 0 and 1 have the same answer, so only the items tell."""
        file = tmp_path / "mmlu_10k_order.jsonl"
        first, second, *rest = file.read_text().split("\n")
        file.write_text("\n".join([second, first, *rest]))
        with pytest.raises(SuiteError, match="the questions it gives are not those of the published data"):
            get_task("ye2024-qa")

    def test_a_json_file_with_the_same_questions_has_the_same_revision(
        self, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert task.demonstrations is not None
        items: list[Question] = sorted((*task.load(), *task.demonstrations()), key=lambda item: int(item.id))
        records = [
            {
                "id": int(item.id),
                "source": "MMLU",
                "context": "",
                "question": item.question,
                "choices": dict(zip("ABCDEF", item.choices, strict=True)),
                "answer": "ABCDEF"[item.answer],
            }
            for item in items
        ]
        other = tmp_path / "json"
        other.mkdir()
        write(other, "mmlu_10k", records, indent=None)
        monkeypatch.setenv("SUITE_DATA", str(other))
        again = get_task("ye2024-qa")
        assert again.revision == task.revision
        assert again.load() == task.load()

    @pytest.mark.parametrize(
        ("style", "digest"),
        [("base", "b0ebd39e6c559d8f"), ("shared", "d2723577067f57a7"), ("task", "0d1806bb9e00a1c4")],
    )
    def test_golden_prompt_of_a_real_item(self, task: Task, style: str, digest: str) -> None:
        context = make_sheet(task, prompt=style, shots=5).rendered[0].context
        assert hashlib.sha256(context.encode()).hexdigest()[:16] == digest
