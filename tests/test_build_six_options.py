"""Six-option files made from raw records: what becomes of each; draws depend on seed and text alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.build_six_options import Built, build, main
from suite.errors import SuiteError
from suite.tasks import get_task


def raw(source: str, number: int) -> dict[str, Any]:
    four = [f"metal {number}", f"stone {number}", f"water {number}", f"light {number}"]
    return {
        "MMLU": {"question": f"What is bell {number}?", "choices": four, "answer": number % 4},
        "CosmosQA": {
            "context": f"A bell rang {number} times.",
            "question": "Why?",
            **{f"answer{index}": text for index, text in enumerate(four)},
            "label": str(number % 4),
        },
        "HellaSwag": {"ctx": f"A bell rings {number} times. Then", "endings": four, "label": str(number % 4)},
        "Halu-OpenDialKG": {
            "knowledge": "x",
            "dialogue_history": f"[Human]: Bell {number}? [Assistant]:",
            "right_response": f"It rings {number} times.",
            "hallucinated_response": f"It never rings {number}.",
        },
        "Halu-CNN/DailyMail": {
            "document": f"A long story of bell {number}.",
            "right_summary": f"Bell {number}.",
            "hallucinated_summary": f"Drum {number}.",
        },
    }[source]


SOURCES = ("MMLU", "CosmosQA", "HellaSwag", "Halu-OpenDialKG", "Halu-CNN/DailyMail")


def built(source: str, records: list[dict[str, Any]], **options: Any) -> Built:
    return build(source, [(f"raw:{number}", record) for number, record in enumerate(records, 1)], **options)


@pytest.mark.parametrize("source", SOURCES)
class TestEverySource:
    def test_the_file_is_a_task(self, source: str, tmp_path: Path) -> None:
        path = tmp_path / "raw.jsonl"
        path.write_text("\n".join(json.dumps(raw(source, number)) for number in range(40)))
        out = tmp_path / "mine.json"
        assert main([source, str(path), "--out", str(out), "--count", "30"]) == 0
        task = get_task(str(out))
        assert task.demonstrations is not None
        items = [*task.load(), *task.demonstrations()]
        assert len(items) == 30
        assert all(item.choices[4:] == ("I don't know", "None of the above") and item.answer < 4 for item in items)

    def test_the_right_option_is_the_raw_sets(self, source: str) -> None:
        for record in built(source, [raw(source, number) for number in range(40)]).records:
            right = record["choices"][record["answer"]]
            number = int("".join(char for char in record["context"] + record["question"] if char.isdigit()))
            given = raw(source, number)
            kind = {"MMLU": "choices", "HellaSwag": "endings"}.get(source)
            if kind:
                assert right == given[kind][number % 4]
            elif source == "CosmosQA":
                assert right == given[f"answer{number % 4}"]
            else:
                assert right == (given.get("right_response") or given.get("right_summary"))

    def test_the_order_of_the_raw_file_changes_nothing_and_the_seed_does(self, source: str) -> None:
        records = [raw(source, number) for number in range(40)]
        assert built(source, records).records == built(source, records[::-1]).records
        assert built(source, records).records != built(source, records, seed=1).records

    def test_a_record_without_its_fields_is_refused_with_its_line(self, source: str) -> None:
        records = [raw(source, number) for number in range(40)]
        records[6] = {"id": 6}
        with pytest.raises(SuiteError, match=f"raw:7: not a record of {source}: no field"):
            built(source, records)


def test_foreign_options_are_right_answers_of_others_and_places_are_even() -> None:
    found = built("Halu-OpenDialKG", [raw("Halu-OpenDialKG", number) for number in range(400)])
    assert max(Counter(record["answer"] for record in found.records).values()) < 140
    right = {f"It rings {number} times." for number in range(400)}
    for record in found.records:
        options = list(record["choices"].values())[:4]
        assert len(set(options)) == 4
        assert len(right & set(options)) == 3


def test_what_cannot_be_asked_is_left_out_and_counted() -> None:
    records = [raw("MMLU", number) for number in range(40)]
    records[0]["choices"][1] = records[0]["choices"][0]
    records[1]["choices"][2] = "None of the above"
    records[2]["choices"][3] = " "
    records[3]["question"] = ""
    records[4]["answer"] = 4
    records.append(raw("MMLU", 20))
    found = built("MMLU", records)
    assert len(found.records) == 35
    assert found.left_out == {
        "identical options": 2,
        "empty option": 1,
        "empty question": 1,
        "answer outside the options": 1,
        "same record again": 1,
    }


@pytest.mark.parametrize("options", [1, 3, 5, 27])
def test_four_options_are_needed(options: int) -> None:
    records = [raw("MMLU", number) for number in range(40)]
    records[2]["choices"] = [str(number) for number in range(options)]
    with pytest.raises(SuiteError, match="raw:3: not a record of MMLU: four options are needed"):
        built("MMLU", records)


def test_too_few_records_and_an_unknown_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SuiteError, match="10 usable records of MMLU, 11 are needed; left out: none"):
        built("MMLU", [raw("MMLU", number) for number in range(10)])
    path = tmp_path / "raw.csv"
    path.write_text("question,A,B,C,D,answer\nWhy?,a,b,c,d,B\n")
    assert main(["MMLU", str(path), "--out", str(tmp_path / "x.json"), "--count", "5"]) == 2
    assert main(["SQuAD", str(path), "--out", str(tmp_path / "x.json")]) == 2
    err = capsys.readouterr().err.splitlines()
    assert "1 usable records of MMLU, 11 are needed" in err[0]
    assert "unknown source 'SQuAD'" in err[1]
    assert not (tmp_path / "x.json").exists()
