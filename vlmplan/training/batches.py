"""How does a conversation become a batch? Token ids with places for visual tokens, labels on answers, pixels.

:class:`Conversation` rows -> what :class:`CompressedLlava` reads. Prompts are made by the checkpoint's own chat
template, so that what is learnt is what is asked later. Where QueCC reads the question, each turn is a row of its own,
with the turns before it as its past: the tokens are chosen for the question at hand.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import check_resized
from vlmplan.errors import InputError
from vlmplan.exporting import templated
from vlmplan.panics import panics_refused
from vlmplan.training.conversations import Conversation, Turn, open_image

IGNORED = -100  # torch's cross-entropy leaves labels of this number out
_KEPT_TEXTS = 50_000  # conversations whose ids are kept, so that small sets are written once
CACHE_BYTES = 2**30  # of processed pixels kept, so that small images are read once


class Writer:
    """Turns conversations into ids by a processor's template, the last of them kept for when they come again."""

    def __init__(self, processor: Any) -> None:
        """Nothing is written yet."""
        self.processor = processor
        self._kept: OrderedDict[tuple[str, int], tuple[list[int], list[int]]] = OrderedDict()

    def _rendered(self, turns: Sequence[Turn], unanswered: str | None) -> str:
        """The text of ``turns`` and, after them, of a question still without its answer."""
        messages: list[dict[str, Any]] = []
        for question, answer in [
            *((turn.question, turn.answer) for turn in turns),
            *([(unanswered, None)] if unanswered else []),
        ]:
            image = [] if messages else [{"type": "image"}]
            messages.append({"role": "user", "content": [*image, {"type": "text", "text": question}]})
            if answer is not None:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return templated(self.processor, messages, add_generation_prompt=unanswered is not None, tokenize=False)

    def _ids(self, text: str, first: bool) -> list[int]:
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=first)["input_ids"]
        return ids

    def ids(self, sample: "Sample", visual_tokens: int) -> tuple[list[int], list[int]]:
        """Return token ids, with ``visual_tokens`` places for the image, and labels on the answers to be learnt."""
        key = (sample.row.name, sample.learnt)
        if key not in self._kept:
            with panics_refused("the checkpoint"):
                self._kept[key] = self._written(sample.row.turns, sample.learnt)
            if len(self._kept) > _KEPT_TEXTS:
                self._kept.popitem(last=False)
        ids, labels = self._kept[key]
        image = self.processor.image_token_id
        at = ids.index(image)
        places = [image] * visual_tokens
        return ids[:at] + places + ids[at + 1 :], labels[:at] + [IGNORED] * visual_tokens + labels[at + 1 :]

    def _written(self, turns: Sequence[Turn], learnt: int) -> tuple[list[int], list[int]]:
        """Ids and labels with one place for the image; answers from turn ``learnt`` on are labelled, each with its end.

        Raises InputError for a template that writes the past otherwise once it goes on.
        """
        tokenizer = self.processor.tokenizer
        ids: list[int] = []
        labels: list[int] = []
        written = ""
        for number, turn in enumerate(turns):
            prompt = self._rendered(turns[:number], turn.question)
            if not prompt.startswith(written):
                raise InputError(
                    "the checkpoint's chat template rewrites earlier turns; expected one that adds to them"
                )
            question = self._ids(prompt[len(written) :], first=number == 0)
            written = self._rendered(turns[: number + 1], None)
            if not written.startswith(prompt):
                raise InputError("the checkpoint's chat template does not put the answer after its prompt")
            answer = self._answer(written[len(prompt) :], tokenizer)
            ids += question + answer
            labels += [IGNORED] * len(question) + (answer if number >= learnt else [IGNORED] * len(answer))
        if ids.count(self.processor.image_token_id) != 1:
            raise InputError("the checkpoint's chat template has no place for the image, or several")
        return ids, labels

    def _answer(self, text: str, tokenizer: Any) -> list[int]:
        """An answer's ids with exactly one end: the template's, or the tokenizer's where it writes none."""
        end = tokenizer.eos_token
        ids = self._ids(text.rpartition(end)[0] if end in text else text.rstrip(), first=False)
        return [*ids, tokenizer.eos_token_id]

    def question(self, text: str) -> list[int]:
        """Return the bare question's ids: what QueCC embeds."""
        with panics_refused("the checkpoint"):
            return self._ids(text.strip(), first=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A conversation, and the turn from which on answers are learnt."""

    row: Conversation
    learnt: int

    @property
    def question(self) -> str:
        """What is asked where learning begins."""
        return self.row.turns[self.learnt].question


def samples(rows: Sequence[Conversation], reads_question: bool) -> list[Sample]:
    """Return a sample a conversation, or a sample a turn where the question is read."""
    if not reads_question:
        return [Sample(row=row, learnt=0) for row in rows]
    return [
        Sample(row=Conversation(name=row.name, image=row.image, turns=row.turns[: turn + 1]), learnt=turn)
        for row in rows
        for turn in range(len(row.turns))
    ]


class Pixels:
    """Processed images, the last gibibyte of them kept."""

    def __init__(self, image_processor: Any) -> None:
        """Nothing is read yet."""
        self.image_processor = image_processor
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def of(self, image: Path | bytes) -> Any:
        """Return ``[3, size, size]`` of an image. Raises InputError for one that cannot be read any more."""
        if image not in self._kept:
            picture = open_image(image)
            check_resized(picture.size, self.image_processor)
            made = self.image_processor(picture, return_tensors="pt")["pixel_values"][0]
            self._kept[image] = made
            if len(self._kept) * made.nbytes > CACHE_BYTES:
                self._kept.popitem(last=False)
        return self._kept[image]


class Batches:
    """The collator: samples -> tensors, padded on the right. One number of visual tokens a batch."""

    def __init__(self, processor: Any, visual_tokens: Sequence[int], reads_question: bool, seed: int) -> None:
        """``visual_tokens`` has several numbers for a nested checkpoint."""
        self.writer = Writer(processor)
        self.pixels = Pixels(processor.image_processor)
        self.visual_tokens, self.reads_question, self.seed = tuple(visual_tokens), reads_question, seed
        self.pad = processor.tokenizer.pad_token_id or 0

    def _count(self, samples: Sequence[Sample]) -> int:
        """This batch's number of visual tokens: drawn by what is in it, so that resuming draws it again."""
        if len(self.visual_tokens) == 1:
            return self.visual_tokens[0]
        import zlib

        key = "".join(f"{sample.row.name}.{sample.learnt}" for sample in samples)
        return self.visual_tokens[zlib.crc32(f"{self.seed} {key}".encode()) % len(self.visual_tokens)]

    def _padded(self, rows: Sequence[Sequence[int]], filler: int) -> Any:
        import torch

        longest = max(map(len, rows))
        return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return input_ids, attention_mask, labels, pixel_values, and for QueCC question_ids and question_mask."""
        import torch

        count = self._count(samples)
        written = [self.writer.ids(sample, count) for sample in samples]
        ids, labels = zip(*written, strict=True)
        batch = {
            "input_ids": self._padded(ids, self.pad),
            "attention_mask": self._padded([[1] * len(row) for row in ids], 0),
            "labels": self._padded(labels, IGNORED),
            "pixel_values": torch.stack([self.pixels.of(sample.row.image) for sample in samples]),
        }
        if self.reads_question:
            questions = [self.writer.question(sample.question) for sample in samples]
            batch["question_ids"] = self._padded(questions, self.pad)
            batch["question_mask"] = self._padded([[1] * len(row) for row in questions], 0)
        return batch
