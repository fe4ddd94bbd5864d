"""What else must an export of a Mistral 3 hold? Its configuration and processor, and who writes its prompts in Python.

V is set by the longest edge that the processor scales a picture to, and counts the token that ends each row.
``PixtralProcessor`` of transformers asks for torchvision; what it does with pictures and prompts is done here without.
"""

from typing import Any

from vlmplan.checkpoints import Checkpoint, added_tokens, quiet_transformers
from vlmplan.document import read_plain
from vlmplan.errors import InputError
from vlmplan.exporting.tiles import Pictures

_KEPT = ("model_type", "architectures", "text_config", "vision_config", "image_token_index", "spatial_merge_size",
         "projector_hidden_act", "multimodal_projector_bias", "vision_feature_layer",
         "tie_word_embeddings")  # fmt: skip
_NAMES = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
PIXTRAL = "Pixtral"
_IMAGES, _WHOLE = f"{PIXTRAL}ImageProcessor", f"{PIXTRAL}Processor"


def row_processor() -> Any:
    """Return the class of a processor that opens what ``PixtralProcessor`` does, and writes the same prompts.

    A token for each square of patches, and one behind each row: of a break, behind the last of the end.
    """
    quiet_transformers()
    from transformers.processing_utils import ProcessorMixin

    class OfRows(ProcessorMixin):  # type: ignore[misc]
        """Pixtral's processor without torchvision."""

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, patch_size: int = 16,
            spatial_merge_size: int = 1, chat_template: Any = None, **names: Any,
        ) -> None:  # fmt: skip
            super().__init__(image_processor, tokenizer, chat_template=chat_template)
            self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
            self.image_token, self.image_break_token, self.image_end_token = (
                names.get(key, usual) for key, usual in _NAMES.items()
            )
            self.row_ids = [tokenizer.convert_tokens_to_ids(names.get(key, usual)) for key, usual in _NAMES.items()]
            self.image_token_id = self.row_ids[0]

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Return the names of its parts."""
            return ["image_processor", "tokenizer"]

        @property
        def image_token_ids(self) -> list[int]:
            """Numbers of the tokens that stand for a picture: its own, and those that end rows."""
            return list(self.row_ids)

        def _process_images(self, images: Any, **options: Any) -> Any:
            options["patch_size"] = self.patch_size * self.spatial_merge_size
            return super()._process_images(images, **options)

        def replace_image_token(self, image_inputs: Any, image_idx: int, **_: Any) -> str:
            """Return the tokens of one picture."""
            side = self.patch_size * self.spatial_merge_size
            high, wide = (int(length) // side for length in image_inputs["image_sizes"][image_idx])
            rows: str = self.image_break_token.join([self.image_token * wide] * high)
            return rows + str(self.image_end_token)

    return OfRows


def _told(checkpoint: Checkpoint) -> dict[str, str]:
    """The texts of the three tokens, by the checkpoint's own processor. Raises InputError where one is no token."""
    folder = checkpoint.folder
    path = folder / "processor_config.json"
    written = read_plain(path) if path.is_file() else {}
    texts = {key: written.get(key, usual) for key, usual in _NAMES.items()}
    added = added_tokens(folder)
    if added.get(checkpoint.image_token) != texts["image_token"]:
        raise InputError(
            f"{folder}/tokenizer.json: expected the added token {texts['image_token']!r:.40}, number "
            f"{checkpoint.image_token}, which processors write for an image; found "
            f"{added.get(checkpoint.image_token, 'none')!r:.40}"
        )
    if missing := [text for text in texts.values() if text not in added.values()]:
        raise InputError(f"{folder}/tokenizer.json: expected the added token {missing[0]!r:.40}, which ends a row")
    return texts


def _side(settings: dict[str, Any], key: str) -> Any:
    """A side in pixels where a processor has a number or a pair of equal ones."""
    given = settings.get(key)
    return given.get("height") if isinstance(given, dict) and given.get("height") == given.get("width") else given


def picture_texts(
    checkpoint: Checkpoint, pictures: Pictures, settings: dict[str, Any], kept: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return file name -> content of the configuration and the processor.

    ``settings`` are those of the checkpoint for images, ``kept`` the ones that do not change. Raises InputError.
    """
    folder, plain = checkpoint.folder, checkpoint.config.to_dict()
    if odd := [key for key in ("do_resize", "do_pad") if settings.get(key, True) is not True]:
        raise InputError(f"{folder}: its processor has {odd[0]} {settings[odd[0]]}, which no export's files carry over")
    if settings.get("do_center_crop"):
        raise InputError(f"{folder}: its processor crops, which no export's files carry over")
    kind = str(settings.get("image_processor_type", _IMAGES)).removesuffix("Fast").removesuffix("Pil")
    if kind != _IMAGES:
        raise InputError(f"{folder}: its image processor is {kind:.60}, expected {_IMAGES}")
    if _side(settings, "patch_size") not in (None, pictures.patch, pictures.side):
        raise InputError(
            f"{folder}: its processor's patch_size is {settings['patch_size']!r:.60}, the tower's {pictures.patch}"
        )
    shared = {"patch_size": pictures.patch, "spatial_merge_size": pictures.merge}
    image = (
        {key: settings[key] for key in kept if key in settings}
        | shared
        | {
            "do_resize": True,
            "do_pad": True,
            "size": {"longest_edge": pictures.edge},
            "image_processor_type": _IMAGES,
        }
    )
    return {
        "config.json": {key: plain[key] for key in _KEPT if key in plain},
        "preprocessor_config.json": image | {"processor_class": _WHOLE},
        "processor_config.json": {"image_processor": image, "processor_class": _WHOLE} | shared | _told(checkpoint),
    }
