"""What does the export say of a picture? One image and one question in, text and timings out."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import (
    GRIDDED_TYPES,
    MASKED_TYPES,
    PICTURED_TYPES,
    POOLED_TYPES,
    SHAPED_TYPES,
    TILED_TYPES,
    as_rgb,
    check_resized,
    opened,
    quiet_transformers,
    stored_type,
    view_prompter,
)
from vlmplan.document import read_plain
from vlmplan.errors import InputError, one_line
from vlmplan.exporting.files.gemma import PALIGEMMA, write_placeholders
from vlmplan.exporting.files.generation import ending_tokens, generation_settings
from vlmplan.exporting.files.pixtral import PIXTRAL, row_processor
from vlmplan.exporting.manifest import read_manifest
from vlmplan.exporting.orders import check_text
from vlmplan.exporting.runner import (
    PATCH_GRID,
    PICTURE_SIZES,
    PIXEL_MASK,
    VIEW_SHAPES,
    OnnxModel,
    Prompt,
    generate,
)
from vlmplan.exporting.shapes import Shapes
from vlmplan.exporting.templates import templated
from vlmplan.exporting.write import question_ids
from vlmplan.panics import panics_refused
from vlmplan.picture_files import open_picture

PLACEHOLDER = "<image>"  # where a question, or a row of LLaVA's, says that the image stands

MOST_ELONGATED = 50  # resizing the shorter side to the tower's makes a longer picture than memory should hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The text, how many tokens went in and came out, and how long it took."""

    text: str
    prompt_tokens: int
    visual_tokens: int
    output_tokens: int
    vision_s: float
    prefill_s: float
    ttft_s: float
    tpot_s: float | None
    baked_query: str | None = None


def _picture(path: Path) -> Any:
    if not os.path.isfile(path):  # noqa: PTH113 - False for a name too long, not an exception
        raise InputError(f"--image: {path} is no image that can be read (no such file)")
    try:
        with warnings.catch_warnings(action="ignore"), open_picture(path) as opened:
            if max(opened.size) > MOST_ELONGATED * min(opened.size):
                raise InputError(f"it is {opened.size[0]} x {opened.size[1]}, too long to be cropped")
            return as_rgb(opened)
    except InputError as error:
        raise InputError(f"--image: {path} cannot be used: {error}") from None
    except Exception as error:  # each format raises its own
        raise InputError(f"--image: {path} is no image that can be read ({one_line(error)})") from None


def cut_within(image_processor: Any, limit: int | Shapes, *, masked: bool) -> None:
    """Set an image processor to a limit: of ``masked`` tiles the longest edge in pixels, else their number.

    Of a processor that makes squares of patches it is the most pixels in all, of Pixtral's the longest edge, of one
    that makes views of patches all of what those go by.
    """
    if isinstance(limit, Shapes):
        for name, value in limit.settings().items():
            setattr(image_processor, name, value)
    elif hasattr(image_processor, "merge_size"):
        least = min(limit, dict(image_processor.size)["shortest_edge"])
        image_processor.size = {"shortest_edge": least, "longest_edge": limit}
    elif masked or PIXTRAL in type(image_processor).__name__:
        image_processor.size = {"longest_edge": limit}
    else:
        image_processor.max_patches = limit


class Prompts:
    """Makes prompts by a folder's own processor: an export's, or a checkpoint's. The chat template is used if any."""

    def __init__(self, folder: Path, visual_tokens: int | None = None, limit: int | Shapes | None = None) -> None:
        """Load the processor; an image becomes ``visual_tokens``, or tiles within a ``limit``, where given.

        The limit is the longest edge in pixels, or the most tiles, as the processor's rule has it.
        Raises InputError where it cannot be.
        """
        model_type = stored_type(folder)
        self.processor = opened(folder, "processor", _processor_class(model_type))
        if visual_tokens is not None and model_type in POOLED_TYPES:
            write_placeholders(self.processor, visual_tokens)
        elif visual_tokens is not None:
            self.processor.patch_size = read_plain(folder / "config.json")["vision_config"]["image_size"]
            self.processor.vision_feature_select_strategy = "full"
            self.processor.num_additional_image_tokens = visual_tokens - 1
        if limit is not None:
            cut_within(self.processor.image_processor, limit, masked=model_type in MASKED_TYPES)
        self.folder, self.tokenizer = folder, self.processor.tokenizer
        if self.processor.chat_template is None:  # as an export holds it, which has one for both
            self.processor.chat_template = self.tokenizer.chat_template
        self.stop = _stop_tokens(folder, self.tokenizer)

    def of(self, image: Any, text: str, reads_question: bool, where: str = "the question") -> Prompt:
        """Return the prompt about an image's file, or a PIL image. Raises InputError for one that cannot be read.

        ``where`` names the text in an error.
        """
        processor = self.processor
        picture = _picture(image) if isinstance(image, Path) else as_rgb(image)
        check_resized(picture.size, processor.image_processor)
        marks = (processor.image_token, getattr(self.tokenizer, "image_token", None))
        if written := [mark for mark in marks if mark and mark in text]:
            raise InputError(f"{where}: found {written[0]}; the image's place is set by the template, leave it out")
        if processor.chat_template is None:
            between = "" if type(processor).__name__ == PALIGEMMA else "\n"  # which that one writes behind the text
            asked = f"{processor.image_token}{between}{text}"
        else:
            content = [{"type": "image"}, {"type": "text", "text": text}]
            asked = templated(processor, [{"role": "user", "content": content}], add_generation_prompt=True)
        return self.written(picture, asked, text if reads_question else None)

    def written(self, picture: Any, asked: str, question: str | None = None) -> Prompt:
        """Return the prompt about a PIL image of a text in which its place is marked, as a template writes it.

        ``question`` is the bare one, for QueCC. Raises InputError where the processor makes nothing of them.
        """
        processor = self.processor
        try:
            with panics_refused(str(self.folder)):
                made = processor(images=picture, text=asked, return_tensors="np")
                asking = None if question is None else question_ids(self.tokenizer, question)
        except InputError:
            raise
        except Exception as error:  # settings that no picture fits raise what they like
            raise InputError(f"the processor makes nothing of the picture and its prompt ({one_line(error)})") from None
        return Prompt(
            input_ids=made["input_ids"],
            attention_mask=made["attention_mask"],
            pixel_values=made["pixel_values"],
            pixel_mask=made.get(PIXEL_MASK),
            grid=made.get(PICTURE_SIZES if hasattr(processor, "row_ids") else PATCH_GRID),
            shapes=made.get(VIEW_SHAPES),
            merge=getattr(processor.image_processor, "merge_size", 1),
            question_ids=asking,
            image_token=_image_token(processor),
        )

    def visual_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens of a prompt stand for its image, those that end rows among them."""
        own = getattr(self.processor, "row_ids", [prompt.image_token])
        return sum(int((prompt.input_ids == token).sum()) for token in own)

    def text(self, tokens: Sequence[int]) -> str:
        """Return an answer's text."""
        kept = [token for token in tokens if token not in self.stop]
        with panics_refused(str(self.folder)):
            return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()


def _image_token(processor: Any) -> int:
    """Number of the token that stands for a visual token, by either of the names that processors have for it."""
    listed = getattr(processor, "image_token_ids", None)
    return int(listed[0] if listed else processor.image_token_id)


def _processor_class(model_type: Any) -> Any:
    """The class of a type's processor, without what only videos need: torchvision, and SmolVLM's num2words."""
    transformers = quiet_transformers()
    if model_type in PICTURED_TYPES:
        return row_processor()
    if model_type in MASKED_TYPES:
        return transformers.Idefics3Processor  # which does the same with images as SmolVLM's
    if model_type in SHAPED_TYPES:
        return view_prompter()
    if model_type not in TILED_TYPES:
        return transformers.AutoProcessor

    whole = transformers.InternVLProcessor
    if model_type in GRIDDED_TYPES:  # whose three processors do the same with images
        whole = transformers.Qwen2_5_VLProcessor

    class OfImages(whole):  # type: ignore[misc, valid-type]
        """InternVL's or Qwen's processor without a part for videos."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Return the names of its parts."""
            return ["image_processor", "tokenizer"]

    return OfImages


def _stop_tokens(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Token ids that end an answer: those at which ``generate`` of the folder ends, and the tokenizer's."""
    ends, own = ending_tokens(generation_settings(folder)), tokenizer.eos_token_id
    return ends | {own} if isinstance(own, int) else ends


def answer(folder: Path, image: Path, text: str, limit: int, provider: str, threads: int | None) -> Answer:
    """Run the export once. Raises InputError or Unavailable."""
    check_text("--prompt", text)
    manifest = read_manifest(folder)
    model = OnnxModel(folder, provider, threads)
    prompts = Prompts(folder)
    prompt = prompts.of(image, text, manifest.reads_question, "--prompt")
    generate(model, prompt, 1)  # the first call loads the sessions and is not timed
    found = generate(model, prompt, limit, prompts.stop)
    found.margins(str(folder))
    return Answer(
        text=prompts.text(found.tokens),
        prompt_tokens=prompt.input_ids.shape[1],
        visual_tokens=prompts.visual_tokens(prompt),
        output_tokens=len(found.tokens),
        vision_s=found.vision_s,
        prefill_s=found.prefill_s,
        ttft_s=found.ttft_s,
        tpot_s=found.tpot_s,
        baked_query=manifest.query,
    )
