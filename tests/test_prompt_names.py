"""Ways of asking: prompt names, rotated options, noise, chat templates, and where letters meet a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import TEXT, build_tokenizer

from suite.errors import SuiteError
from suite.models.checkpoint import Checkpoint, load
from suite.models.model import resolve_model
from suite.prompt_name import NOISES, PromptName, parse_prompt
from suite.score.cells import score
from suite.score.chat import in_chat
from suite.score.noise import perturb
from suite.score.prompt import Rendered, render
from suite.score.sheet import make_sheet
from suite.score.show import as_asked
from suite.score.transformers.encode import encode
from suite.score.transformers.network import NetworkScorer
from suite.task import LETTER_STYLES, Question, Task
from suite.tasks import TASKS

ITEMS = tuple(
    Question(
        f"q{number}",
        f"Which of these is metal number {number} of the earth?",
        ("iron", "the moon", "light", "water"),
        number % 4,
        context="The moon moves around the earth." if number % 2 else "",
        group=f"g{number // 2}",
    )
    for number in range(8)
)
TASK = Task(
    name="quiz",
    title="quiz",
    paper="",
    licence="",
    source="",
    revision="1",
    kind="custom",
    options="4",
    scoring="letter",
    load=lambda: ITEMS,
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA2 = "{{ bos_token }}{% for message in messages %}[INST] {{ message.content }} [/INST]{% endfor %}"
DATED = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
DATED += "{{ date_string }}\n{{ messages[0].content }}\n"


class TestNames:
    @settings(deadline=None)
    @given(
        st.builds(
            PromptName,
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
            st.booleans(),
            st.integers(0, 25),
            st.just(False),
            st.sampled_from(["", *NOISES]),
            st.integers(0, 999_999_999),
        )
    )
    def test_a_name_and_its_parts_are_the_same_thing(self, name: PromptName) -> None:
        if not name.noise:
            name = PromptName(name.style, name.chat, name.rotation)
        assert parse_prompt(str(name)) == name
        assert parse_prompt(name.original).perturbation == ""
        whole = name.original + (f"+{name.perturbation}" if name.perturbation else "")
        assert parse_prompt(whole) == name

    @pytest.mark.parametrize(
        "name",
        [
            *("", "+chat", "base+", "base+rot0", "base+rot", "base+rot2+rot3", "base+rotations+rot1", "base+chat+chat"),
            *("base+typo", "base+typos+case", "base+typos01", "base+CHAT", "a b", "base+rot1+rotations", "base/../x"),
        ],
    )
    def test_what_is_no_name(self, name: str) -> None:
        with pytest.raises(SuiteError, match=r"a prompt's name is STYLE\[\+chat\]"):
            parse_prompt(name)

    def test_an_unknown_style_lists_the_valid_ones(self) -> None:
        with pytest.raises(
            SuiteError, match=r"unknown letter prompt of task quiz 'taks': .*Valid: base, choices, plain"
        ):
            make_sheet(TASK, prompt="taks")
        with pytest.raises(
            SuiteError, match="unknown cloze prompt of task sciq 'x': Valid: base, closed-book, plain, qa, question"
        ):
            make_sheet(TASKS["sciq"], prompt="x")

    @pytest.mark.parametrize("prompt", ["base+rot1", "base+rotations"])
    def test_cloze_has_no_options_to_rotate(self, prompt: str) -> None:
        with pytest.raises(SuiteError, match="a cloze text shows no options, so none are rotated"):
            make_sheet(TASK, scoring="cloze-sum", prompt=prompt)


STEM = "The moon moves around the earth.\nWhich of these is metal number 1 of the earth?"
LISTED = "A. iron\nB. the moon\nC. light\nD. water\n"


class TestGoldenPrompts:
    """One whole prompt for every style of tasks that have none of their own (the five-task set has its own file)."""

    @pytest.mark.parametrize(
        ("style", "text"),
        [
            (
                "base",
                f"The following are multiple choice questions (with answers).\n\n{STEM}\n{LISTED}Answer:",
            ),
            ("plain", f"{STEM}\n{LISTED}Answer:"),
            ("choices", f"Question: {STEM}\nChoices:\n{LISTED}Answer:"),
        ],
    )
    def test_letters(self, style: str, text: str) -> None:
        assert render(TASK, ITEMS[1], scoring="letter", prompt=style) == Rendered(text, (" A", " B", " C", " D"))
        assert set(LETTER_STYLES) == {"base", "plain", "choices"}

    @pytest.mark.parametrize(
        ("style", "text"),
        [
            ("base", "The moon moves around the earth.\nQuestion: {q}\nAnswer:"),
            ("question", "The moon moves around the earth.\nQuestion: {q}\nAnswer:"),
            ("qa", "The moon moves around the earth.\nQ: {q}\nA:"),
            ("plain", "The moon moves around the earth.\n{q}"),
        ],
    )
    def test_cloze(self, style: str, text: str) -> None:
        expected = text.format(q="Which of these is metal number 1 of the earth?")
        assert render(TASK, ITEMS[1], scoring="cloze-sum", prompt=style).context == expected

    @pytest.mark.parametrize(
        ("name", "base"),
        [
            *((name, "Question: Why?\nAnswer:") for name in ("arc-challenge", "arc-easy", "commonsenseqa", "mmlu")),
            *((name, "Question: Why?\nAnswer:") for name in ("medmcqa", "medqa", "piqa")),
            *((name, "Why?") for name in ("hellaswag", "hellaswag-activitynet", "openbookqa", "winogrande")),
            *((name, "It rains.\nQuestion: Why?\nAnswer:") for name in ("bbq", "boolq", "cosmosqa", "sciq")),
            ("socialiqa", "Question: It rains. Why?\nAnswer:"),
            ("truthfulqa-mc1", "Q: Why?\nA:"),
        ],
    )
    def test_every_task_with_a_cloze_text_of_its_own(self, name: str, base: str) -> None:
        item = Question("1", "Why?", ("clouds", "the moon"), 0, context="It rains.")
        expected = {
            "base": base,
            "question": "It rains.\nQuestion: Why?\nAnswer:",
            "qa": "It rains.\nQ: Why?\nA:",
            "plain": "It rains.\nWhy?",
            **({"closed-book": "Question: Why?\nAnswer:"} if name == "sciq" else {}),
        }
        assert set(TASKS[name].cloze_styles) == set(expected)
        for style, text in expected.items():
            found = render(TASKS[name], item, scoring="cloze-sum", prompt=style)
            assert found == Rendered(text, (" clouds", " the moon"))

    def test_no_task_is_without_a_golden_prompt(self) -> None:
        mine = {name for name, task in TASKS.items() if task.letter_styles is LETTER_STYLES}
        assert set(TASKS) - mine == {f"ye2024-{short}" for short in ("qa", "rc", "ci", "drs", "ds")}
        assert len(mine) == 17


class TestRotations:
    def test_options_move_up_and_keep_their_place_in_the_scores(self) -> None:
        text = render(TASK, ITEMS[0], scoring="letter", prompt="plain", rotation=1)
        assert text.context.endswith("A. the moon\nB. light\nC. water\nD. iron\nAnswer:")
        assert text.continuations == (" D", " A", " B", " C")

    def test_pinned_options_stay_at_the_end(self) -> None:
        task = Task(**{**TASK.__dict__, "pinned_options": 2})
        text = render(task, ITEMS[0], scoring="letter", prompt="plain", rotation=1)
        assert text.context.endswith("A. the moon\nB. iron\nC. light\nD. water\nAnswer:")
        assert len(make_sheet(task, prompt="plain+rotations").rendered) == 2 * len(ITEMS)

    @settings(deadline=None)
    @given(st.integers(2, 9), st.integers(0, 30))
    def test_every_option_is_shown_once_under_the_letter_it_is_scored_by(self, count: int, rotation: int) -> None:
        item = Question("1", "?", tuple(f"option-{index}" for index in range(count)), 0)
        text = render(TASK, item, scoring="letter", prompt="plain", rotation=rotation)
        lines = text.context.split("\n")[1:-1]
        assert sorted(line[3:] for line in lines) == sorted(item.choices)
        for option, letter in zip(item.choices, text.continuations, strict=True):
            assert f"{letter[1:]}. {option}" in lines

    def test_averaging_takes_the_mean_of_every_rotations_logits(self, llama: Checkpoint) -> None:
        single = [
            score(NetworkScorer(llama), make_sheet(TASK, prompt=f"base+rot{r}" if r else "base")) for r in range(4)
        ]
        mean = score(NetworkScorer(llama), make_sheet(TASK, prompt="base+rotations"))
        assert mean.ids == single[0].ids
        np.testing.assert_allclose(mean.scores, np.mean([one.scores for one in single], axis=0), atol=1e-4)
        assert (mean.kind, mean.task["prompt"]) == ("logits", "base+rotations")

    def test_averaging_removes_a_liking_for_a_letter(self, llama: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stand-in reader that adds 5 to whatever is shown as C: single rotations all move, the mean does not."""
        from suite.score.transformers import engine

        letter = llama.tokenizer(" C", add_special_tokens=False).input_ids[0]
        plain = engine.option_logits
        sheet = make_sheet(TASK, prompt="base+rotations")
        before = score(NetworkScorer(llama), sheet).log_probabilities()

        def biased(network: Any, items: Any, **options: Any) -> Any:
            found = plain(network, items, **options)
            liked = [np.array([5.0 * (branch[0] == letter) for branch in item.branches]) for item in items]
            return [values + more for values, more in zip(found, liked, strict=True)]

        monkeypatch.setattr(engine, "option_logits", biased)
        np.testing.assert_allclose(score(NetworkScorer(llama), sheet).log_probabilities(), before, atol=1e-4)
        moved = score(NetworkScorer(llama), make_sheet(TASK, prompt="base")).log_probabilities()
        assert np.abs(moved - before).max() > 1

    def test_rotated_items_carry_their_slice_and_their_group(self) -> None:
        sheet = make_sheet(TASK, prompt="base+rot2")
        assert {item.slices for item in sheet.questions} == {("perturbed", "perturbed:rot2")}
        assert [(item.id, item.group, item.answer) for item in sheet.questions] == [
            (item.id, item.group, item.answer) for item in ITEMS
        ]

    def test_ways_of_asking_have_keys_of_their_own(self) -> None:
        prompts = [
            "base",
            "plain",
            "base+rot1",
            "base+rot2",
            "base+rotations",
            "base+chat",
            "base+typos",
            "base+typos1",
        ]
        keys = [tuple(sorted(make_sheet(TASK, prompt=prompt).key_parts().items())) for prompt in prompts]
        assert len(set(keys)) == len(prompts)


class TestNoise:
    @pytest.mark.parametrize("noise", NOISES)
    @settings(deadline=None)
    @given(st.text("aAbBcd \n.", max_size=60), st.text("xyz0189", min_size=1, max_size=5))
    def test_options_stay_and_the_same_item_meets_the_same_noise(self, noise: str, text: str, identifier: str) -> None:
        item = Question(identifier, text, ("iron  light", "b"), 1, context=text[::-1], group="g")
        noisy = perturb(item, noise, 3)
        assert (noisy.id, noisy.choices, noisy.answer, noisy.group) == (item.id, item.choices, 1, "g")
        assert perturb(item, noise, 3) == noisy

    def test_what_the_kinds_change(self) -> None:
        text = "Which of these heavy metals remains liquid under ordinary conditions inside the laboratory? " * 40
        item = Question("1", text, ("a", "b"), 0)
        typos, case, spaces = (perturb(item, noise).question for noise in NOISES)
        assert typos != text
        assert len(typos.split()) == len(text.split())
        changed = [pair for pair in zip(text.split(), typos.split(), strict=True) if pair[0] != pair[1]]
        assert 0.03 < len(changed) / len(text.split()) < 0.14
        assert all(old[0] == new[0] and abs(len(old) - len(new)) <= 1 for old, new in changed)
        assert case.lower() == text.lower()
        assert case != text
        assert "".join(spaces.split()) == "".join(text.split())
        assert spaces != text

    @pytest.mark.parametrize("noise", NOISES)
    def test_a_short_text_is_hit_at_least_once(self, noise: str) -> None:
        for number in range(50):
            assert perturb(Question(str(number), "Which metal floats?", ("a", "b"), 0), noise).question != (
                "Which metal floats?"
            )

    def test_seeds_and_kinds_draw_apart(self) -> None:
        item = Question(
            "1", "Which of these heavy metals remains liquid under ordinary conditions? " * 5, ("a", "b"), 0
        )
        assert len({perturb(item, "typos", seed).question for seed in range(5)}) == 5


def with_template(template: str) -> Any:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


class TestChat:
    def test_the_letter_starts_the_models_turn(self) -> None:
        (text,) = in_chat(with_template(CHATML), [Rendered("Why?", (" A", " B"))])
        assert text == Rendered("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", ("A", "B"))
        (text,) = in_chat(with_template(LLAMA2), [Rendered("Why?", (" A", " B"))])
        assert text == Rendered("<s>[INST] Why? [/INST]", (" A", " B"))

    def test_todays_date_does_not_reach_the_prompt(self) -> None:
        (text,) = in_chat(with_template(DATED), [Rendered("Why?", (" A", " B"))])
        assert text.context == "26 Jul 2024\nWhy?"

    def test_no_template_and_a_broken_one(self) -> None:
        with pytest.raises(SuiteError, match="no chat template; use the prompt without"):
            in_chat(build_tokenizer(), [Rendered("Why?", (" A", " B"))])
        with pytest.raises(SuiteError, match="chat template fails on a user message: only robots"):
            in_chat(with_template("{{ raise_exception('only robots') }}"), [Rendered("Why?", (" A", " B"))])

    def test_a_chat_cell_says_so_and_has_bos_once(self, tiny_models: dict[str, Path], capfd: Any) -> None:
        model = load(resolve_model(str(tiny_models["gemma3"])), dtype="float32")
        model.tokenizer.chat_template = GEMMA
        raw, chat = (score(NetworkScorer(model), make_sheet(TASK, prompt=p)) for p in ("base", "base+chat"))
        assert raw.task["chat_template"] == "raw"
        assert chat.task["chat_template"].startswith("sha256:")
        assert chat.task["prompt_hash"] != raw.task["prompt_hash"]
        seen = as_asked(make_sheet(TASK, prompt="base+chat"), 1, tokenizer=model.tokenizer, bos=model.bos)
        assert seen.count("'<s>'") == 1
        assert "<start_of_turn>user\n" in seen
        with pytest.raises(SuiteError, match="a chat template belongs to a model; name one with --model"):
            as_asked(make_sheet(TASK, prompt="base+chat"), 1)


@pytest.fixture(scope="module")
def llama(tiny_models: dict[str, Path]) -> Checkpoint:
    return load(resolve_model(str(tiny_models["llama"])), dtype="float32")


def sentencepiece_like(prepend: bool) -> Any:
    """Tokenizers of the Llama-2 and Gemma kind: ▁ stands for a space, unknown bytes fall back to byte tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *steps] if prepend else steps)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    marks = ["<start_of_turn>", "<end_of_turn>"]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", *marks, *bytes_], show_progress=False
    )
    # words come apart at spaces, as these families train them; one normalizer puts the ▁ in front by itself
    words = [word for line in TEXT for word in line.split(" ")]
    backend.train_from_iterator(words if prepend else ["▁" + word for word in words], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=marks,
        chat_template=LLAMA2 if prepend else GEMMA,
    )


def byte_level(split_digits: bool) -> Any:
    """Tokenizers of the GPT-2 and Qwen or Llama-3 kind: bytes, a space belongs to the word behind it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    cut: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated")] if split_digits else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split_digits)]
    )
    backend.decoder = decoders.ByteLevel()
    marks = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", *marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        additional_special_tokens=marks if split_digits else [],
        chat_template=CHATML if split_digits else None,
    )


FAMILIES = {
    "llama": (lambda: sentencepiece_like(prepend=True), "▁A", "A"),
    "gemma": (lambda: sentencepiece_like(prepend=False), "▁A", "A"),
    "gpt2": (lambda: byte_level(split_digits=False), "ĠA", "A"),
    "qwen": (lambda: byte_level(split_digits=True), "ĠA", "A"),
}


@pytest.mark.parametrize("family", FAMILIES)
class TestLettersInEveryFamily:
    def test_a_letter_after_a_space_is_one_token_with_the_space(self, family: str) -> None:
        make, spaced, _ = FAMILIES[family]
        tokenizer = make()
        text = render(TASK, ITEMS[1], scoring="letter")
        (item,) = encode(tokenizer, [text], bos=None, max_length=4096, single_token=True)
        pieces = [tokenizer.convert_ids_to_tokens(list(branch)) for branch in item.branches]
        assert pieces == [[spaced.replace("A", letter)] for letter in "ABCD"]
        assert tokenizer.convert_ids_to_tokens([item.prefix[-1]]) == [":"] or text.context.endswith("Answer:")
        whole = tokenizer(text.context + " B", add_special_tokens=False).input_ids
        assert [*item.prefix, *item.branches[1]] == whole

    def test_a_letter_after_a_new_line_is_another_token(self, family: str) -> None:
        """The trap: the same letter has two tokens, and the one behind a line break is not the one behind a space."""
        make, _, bare = FAMILIES[family]
        tokenizer = make()
        (item,) = encode(tokenizer, [Rendered("Answer:\n", ("A", "B"))], bos=None, max_length=4096, single_token=True)
        assert tokenizer.convert_ids_to_tokens([branch[0] for branch in item.branches]) == [bare, "B"]

    def test_a_letter_after_the_chat_header(self, family: str) -> None:
        make, spaced, bare = FAMILIES[family]
        tokenizer = make()
        if tokenizer.chat_template is None:
            with pytest.raises(SuiteError, match="no chat template"):
                in_chat(tokenizer, [render(TASK, ITEMS[1], scoring="letter")])
            return
        texts = in_chat(tokenizer, [render(TASK, ITEMS[1], scoring="letter")])
        (item,) = encode(tokenizer, texts, bos=None, max_length=4096, single_token=True)
        first = tokenizer.convert_ids_to_tokens([item.branches[0][0]])
        assert first == [spaced if family == "llama" else bare]
        prefix = tokenizer.convert_ids_to_tokens(list(item.prefix))
        if tokenizer.bos_token:
            assert prefix.count("<s>") == 1
            assert prefix[0] == "<s>"
        marks = {"gemma": "<start_of_turn>", "qwen": "<|im_start|>"}
        if family in marks:
            assert prefix.count(marks[family]) == 2


def test_a_perturbed_prompt_stays_out_of_averages_where_the_original_is_there() -> None:
    from suite.publish.macro import macro_averages

    def row(prompt: str, accuracy: float) -> dict[str, object]:
        key = {"model": "m", "variant": "dense", "task": "t", "scoring": "letter", "shots": 0, "protocol": "exact"}
        return {**key, "alpha": 0.1, "prompt": prompt, "accuracy": accuracy, "chance_accuracy": 0.25, "flags": []}

    (both,) = macro_averages([row("base", 0.6), row("base+typos", 0.4), row("plain", 0.5)])
    assert both.average("accuracy").value == pytest.approx(0.55)
    (alone,) = macro_averages([row("base+typos", 0.4)])
    assert alone.average("accuracy").value == pytest.approx(0.4)


def test_the_command_line_says_where_data_is_and_what_a_rotated_prompt_looks_like(
    capfd: pytest.CaptureFixture[str], tiny_models: dict[str, Path]
) -> None:
    from suite.cli import main

    assert main(["list", "tasks"]) == 0
    lines = {line.split("\t")[0]: line for line in capfd.readouterr().out.splitlines()}
    assert set(TASKS) <= set(lines)
    assert lines["name"].endswith("\tfetch")
    assert lines["sciq"].endswith("\t–")
    assert "\t9997\t6\tletter\tMIT" in lines["ye2024-drs"]
    assert "\thalu_dialogue.json from the data set ErikYip/LLM-Uncertainty-Bench on" in lines["ye2024-drs"]
    model = str(tiny_models["llama"])
    assert main(["show", "sciq", "--scoring", "letter", "--prompt", "plain+rotations", "--model", model]) == 0
    out = capfd.readouterr().out
    assert "--- context 4 of 4\n" in out
    assert out.count("--- tokens of the options") == 4
    assert "prompt: plain+rotations, 0 shots, chat template raw" in out
