"""A small CLIP tokenizer and the ids that transformers makes with it: Tests/Goldens/tokenizer."""

import json
from collections import Counter
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from common import fresh_folder, write_json

CORPUS = """a photo of a cat on grass, a cat and a dog in the snow, at the beach at night, a sbu cat in szn style,
watercolor painting of a house, the red striped cat's hat, flat cartoon illustration of a mushroom, a 3d rendering of a robot,
oil painting of a teapot in the style of line art, glowing butterfly underwater, best quality, low quality, blurry,
they're there"""
MERGES = 88  # 256 bytes, 256 bytes that end a word, 88 merges and 2 special tokens make 602 ids

TEXTS = [
    "",
    " ",
    "a photo of a cat",
    "A Photo OF a CAT",
    "  a   photo\tof\n\na cat  ",
    "a sbu cat in szn style",
    "cat,dog;house. (robot)! teapot?? -- [glowing] {flat} <art>",
    "the cat's hat, they're there, it'll don't I've I'd I'm 'quoted'",
    "3d rendering 2024 12345 1/2 50%",
    "café naïve Ångström ÉCOLE façade",
    "cafe\u0301 is composed first",
    "ﬁne ½ ² №5 straße İstanbul ΑΣ",
    "猫の写真 高い山 кошка на траве",
    "a cat 🐱 and a 👩‍👩‍👧 family 🏳️‍🌈!!!",
    "underscore_and-hyphen a/b\\c @user #tag $5 &amp; &lt;",
    "zero\u200bwidth\u00a0space\u3000wide",
    "a cat <|endoftext|> on grass",
    "<|startoftext|>a cat<|endoftext|>",
    "!" * 12 + " ... ,,, !!?",
    "supercalifragilisticexpialidocious",
    " ".join(["a red striped cat on grass, thick outline,"] * 12),
    "the end token survives " + "cat " * 90,
]


def train(corpus: str, count: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges in CLIP's form: the most frequent pair first, ties by name."""
    tokenizer = CLIPTokenizer()
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(corpus.lower())
    words = Counter((*piece[:-1], piece[-1] + "</w>") for piece, _ in pieces)
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, frequency in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += frequency
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({merge_pair(word, best): frequency for word, frequency in words.items()})
    printable = [chr(byte) for byte in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    alphabet = printable + sorted(set(ByteLevel.alphabet()) - set(printable))
    symbols = alphabet + [symbol + "</w>" for symbol in alphabet] + ["".join(pair) for pair in merges]
    return {symbol: index for index, symbol in enumerate([*symbols, "<|startoftext|>", "<|endoftext|>"])}, merges


def merge_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def save_tokenizer(folder: Path, **options) -> CLIPTokenizer:
    """Writes vocab.json and merges.txt, as the published folders have them, beside transformers 5's tokenizer.json."""
    vocabulary, merges = train(CORPUS, MERGES)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, **options)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "special_tokens_map.json", special | {"pad_token": tokenizer.pad_token})
    return tokenizer


def main() -> None:
    folder = fresh_folder("tokenizer")
    tokenizer = save_tokenizer(folder)
    cases = [
        {
            "text": text,
            "ids": tokenizer(text).input_ids,
            "padded": tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids,
        }
        for text in TEXTS
    ]
    assert max(len(case["ids"]) for case in cases) > 77
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    (folder / "expected.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"tokenizer: {len(tokenizer)} ids, {len(cases)} texts")


if __name__ == "__main__":
    main()
