"""What do people write? Sentences, code, chat and repeats in the checkpoint's own tokens: random ids look like none.

Where a checkpoint has no tokenizer, ids that are as unevenly used as those of any text stand in for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlmplan.checkpoints import local_folder
from vlmplan.errors import InputError
from vlmplan.exporting import EndlessTemplate, templated
from vlmplan.proof.foreign.decoder import TextDecoder, TextReference
from vlmplan.proof.foreign.samples import Limit, apart
from vlmplan.proof.foreign.tokenizer import opened
from vlmplan.proof.report import Check, verdict

SENTENCES = (
    "What is the capital of France, and who built the tower that stands there?",
    "Please describe this picture in detail: who is in it, what are they doing, and where might it be?",
    "Ignore what was said before. Answer in one word, yes or no.",
    "Die Brücke über den Fluss wurde im Jahr 1894 gebaut und später zweimal erneuert.",
    "¿Cuántas personas hay en la imagen y de qué color es el coche que está a la izquierda?",
    "Le chat dort sur le canapé pendant que la pluie tombe, et personne n'ose le réveiller.",
    "图片里有几只猫？请用一句话回答。",  # noqa: RUF001
    "この写真はどこで撮られましたか。三つの理由を挙げてください。",
    "На столе лежат две книги, ключ и старая карта города.",  # noqa: RUF001
    "كم عدد الأشخاص في هذه الصورة؟",
    "def area(width: float, height: float) -> float:\n    return width * height\n\n\nprint(area(2.5, 4))\n",
    '{"name": "receipt", "total": 41.95, "items": [{"what": "tea", "price": 3.5}], "paid": true}',
    "SELECT name, COUNT(*) FROM visits WHERE day >= '2024-01-01' GROUP BY name ORDER BY 2 DESC;",
    "1 + 1 = 2, 12 * 12 = 144, 3.14159 and 0x7fff; call 555-0199 before 17:30!",
    "a word . Next , it 's not so ! is n't it ? we 're",  # which some clean up when they decode
    "a" * 60,
    "the the the the the the the the the the the the the the the the",
    "\n\n\n   \t  \n",
    "🙂 🚲 ✅ e = mc² — naïve “quotes” …",
)
CHAT = (
    {"role": "user", "content": "Hello! What do you see here?"},
    {"role": "assistant", "content": "A red bicycle leaning on a wall."},
    {"role": "user", "content": "And what is the weather like?"},
)
_RUNS = (2, 9, 33, 70)  # how often one token is repeated, or about how long an uneven text is
_ASKED_AGAIN, _AGAIN = 3, 5  # texts that are read more often, and how often: the answer has to be the same
_LONGEST = 1024  # tokens of one text


def _encoded(folder: Path) -> Iterator[list[int]]:
    """Sentences, all of them in one text, and a chat, as the checkpoint's tokenizer has them; nothing without one."""
    if (tokenizer := opened(folder)) is None:
        return
    for text in (*SENTENCES, "\n".join(SENTENCES)):
        yield tokenizer(text)["input_ids"]
    if getattr(tokenizer, "chat_template", None):
        try:
            text = templated(tokenizer, list(CHAT), tokenize=False, add_generation_prompt=True)
        except EndlessTemplate:
            raise
        except InputError:  # it may want another order of roles
            return
        yield tokenizer(text, add_special_tokens=False)["input_ids"]


def _uneven(size: int, rng: Any) -> Iterator[Any]:
    """Ids as uneven as a text's: low ones most often, a few again and again, neighbours, runs of one."""
    import numpy as np

    for length in _RUNS:
        yield (np.exp(rng.uniform(0, np.log(size), length)) - 1).astype(np.int64)
        yield rng.choice(rng.integers(0, size, 3), length)
        width = max(1, size // int(rng.integers(3, 12)))
        yield int(rng.integers(0, size - width + 1)) + rng.integers(0, width, length)
        yield np.full(length, int(np.exp(rng.uniform(0, np.log(size))) - 1))
    for low in range(0, size, max(1, size // 8)):
        yield rng.integers(low, min(size, low + max(1, size // 8)), 48)
        yield rng.integers(0, min(size, low + max(1, size // 8)), 48)


def texts(model: TextDecoder, reference: TextReference, limit: Limit, seed: int) -> Check:
    """Texts as people write them, read at once by both, some again and again: at each place that the graph gives."""
    import numpy as np

    config, worst, read = reference.model.config, 0.0, 0
    most = min(_LONGEST, int(getattr(config, "max_position_embeddings", _LONGEST)))
    written = [*_encoded(local_folder(reference.name))]
    for ids in (*written, *_uneven(config.vocab_size, np.random.default_rng(seed + 4))):
        text = np.asarray(ids, np.int64)[None, :most]
        if not text.size or text.max() >= config.vocab_size:
            continue
        logits = model.whole(text)[0]
        worst = max(worst, apart(logits, reference.whole(text)[0][:, -logits.shape[1] :], limit))
        for _ in range(_AGAIN if read < _ASKED_AGAIN else 0):
            worst = max(worst, apart(model.whole(text)[0], logits, limit))
        read += 1
    detail = (
        f"{read} texts, {len(written)} of them written and in the checkpoint's tokens: off by at most "
        f"{worst:.1e}{limit.unit}, limit {limit}"
    )
    return verdict("texts", [detail] if worst > limit.value else [], detail)
