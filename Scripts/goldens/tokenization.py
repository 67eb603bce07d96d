"""Makes Tests/Goldens/tokenization: what transformers' CLIPTokenizer does, for the Swift tokenizer to equal.

    pip install transformers==5.23.0 tokenizers==0.23.3
    pip download --no-deps open_clip_torch==3.3.0        # for CLIP's vocabulary, MIT licence
    python Scripts/goldens/tokenization.py open_clip_torch-3.3.0-py3-none-any.whl

Writes
  unicode.json    what the pinned libraries take for letters, numbers, white space, lower case and NFC, over all of Unicode
  trained/        a vocabulary learned from corpus.txt by the plain algorithm below, in all the files of a tokenizer folder
  trained.json    ids, tokens and decoded texts of TEXTS with that vocabulary, for several ways to configure a folder
  clip.json       ids of TEXTS with CLIP's own 49,408 tokens, and the merges that these texts use
"""

import collections
import gzip
import json
import pathlib
import shutil
import sys
import tempfile
import unicodedata
import zipfile

import tokenizers
import transformers
from tokenizers import Regex, normalizers
from transformers import CLIPTokenizer

assert (transformers.__version__, tokenizers.__version__) == ("5.23.0", "0.23.3")

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "Tests/Goldens/tokenization"
MADE_BY = f"Scripts/goldens/tokenization.py, transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
TRAINED_SIZE = 800

TEXTS = [
    # Nothing, and only white space of every kind.
    "", " ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003\u2009", "\u0085", "\u2028\u2029", "\u200b", "\ufeff",
    "\u180e",
    "\x1c\x1d\x1e\x1f", " \t\n\x0b\x0c\r\x85\xa0\u1680\u2000\u202f\u205f\u3000 ",
    # Prompts.
    "a cat", "cat, dog", "cat,dog", "cat ,dog", "A sbu cat in szn style", "a photo of a sks dog", "a <s0> dog in <s1> style",
    "a <S0> cat, FOX, fox<S0>fox",
    "an oil painting of a fox, highly detailed, 8k, trending on artstation", "masterpiece, (best quality:1.2), [blurry::0.5]",
    "woman wearing a hat -- close-up", "low-poly 3d render", "self-portrait, black & white, f/1.8, 50mm, ISO400",
    "hello   world", "  leading and trailing  ", "tabs\tand\nnewlines\r\nhere", "no\u00a0break\u2009spaces\u3000here",
    "The Quick BROWN fOx JUMPS", "iPhone15ProMax", "snake_case and kebab-case", "path/to/file.txt", "user@example.com",
    "https://example.com/a?b=c&d=e#f", "1 + 1 = 2", "C++ C# F# .NET", "100%", "$9.99", "3.14159", "12:30", "2024-01-31",
    "1st 2nd 3rd",
    # Contractions and quotes.
    "it's", "It'S", "don't", "we're", "I've", "I'm", "she'll", "he'd", "'s", "'S", "'tis", "rock 'n' roll", "dogs' toys", "''s",
    "'''",
    "it\u2019s", "\u2018quoted\u2019", "\u201cquoted\u201d", "\"quoted\"", "'sup", "y'all'd've", "'llama", "!'s", "! 's",
    "x's'd't'm",
    "can't've", "'re're're",
    # Symbols.
    "!", "!!", "!!!", "a!", "!a", "a ! b", "...", "\u2026", "?!", "-", "--", "\u2014", "~`@#$%^&*()_+-={}[]|\\:;\"'<>,.?/",
    "\\", "\\n", "</w>", "cat</w>dog", "<w>", "<|", "|>", "<||>", "a|b", "\u00b7", "\u00ac\u00ad\u00ae", "\u2122\u00a9\u00ae",
    "\u00b0C",
    "\u20ac\u00a3\u00a5\u20bf", "\u2190\u2191\u2192\u2193", "\u2211\u222b\u221a\u221e", "\u2605\u2606", "\u266b", "\u00a1\u00bf",
    # Accents, composed and decomposed, and canonical singletons.
    "caf\u00e9", "cafe\u0301", "CAF\u00c9", "na\u00efve r\u00e9sum\u00e9", "nai\u0308ve re\u0301sume\u0301", "\u00c5ngstr\u00f6m",
    "A\u030angstro\u0308m", "\u212b", "\u2126", "\u212a", "ti\u1ebfng Vi\u1ec7t", "tie\u0302\u0301ng Vie\u0323\u0302t",
    "e\u0323\u0302", "e\u0302\u0323", "q\u0307\u0323", "q\u0323\u0307", "\u0301", "a\u0301\u0301\u0301",
    "Z\u0351\u0343\u0312a\u0322lgo\u0321",
    "\u0958\u09dc", "\u0f43", "\u2adc", "\ufb1d", "\u0344", "\u1e9b\u0323", "\u0340\u0341\u0343\u0374\u037e\u0387",
    "\U00010399\u0335\u0340", "\U00020041\u0300", "\u0f73\u0f71", "1\u0345\u0f73",
    # Case mappings: one scalar to two, none, final sigma, dotted and dotless i.
    "\u0130stanbul", "I\u0307stanbul", "\u0131\u011fd\u0131r", "DI\u015eARI", "Stra\u00dfe", "STRASSE", "STRA\u1e9eE",
    "\u039f\u0394\u039f\u03a3",
    "\u039f\u03a3 \u03a3", "\u01c4 \u01c5 \u01c6", "\u13a0\u13f8\uab70", "\u10a0\u10d0\u1c90", "\U00010400\U00010428",
    "\u2c2f\u2c5f",
    "\u24b6\u24d0", "\uff21\uff22\uff23\uff41", "\ufb01\ufb02 \ufb03 \u0133", "\u00aa\u00ba", "\u1d2c\u02b0\u2071",
    # Digits and other numbers.
    "0123456789", "a1b2c3", "\u0663\u0664\u0665", "\u0967\u0968\u0969", "\u00bd\u00bc\u00b2\u00b3", "\u2460\u2461",
    "\u2163\u2173", "\u4e00\u4e8c\u4e09",
    "\u3007", "\uff11\uff12", "\U0001d7ce\U0001d7cf", "\U00010107", "x\u00b2+y\u00b2", "\u0e51\u0e52", "\u3220\u3280",
    # Scripts.
    "\u4e00\u53ea\u732b", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\uff76\uff9e", "\u304c", "\u304b\u3099",
    "\ud55c\uad6d\uc5b4",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u0642\u0637\u0629 \u0648\u0643\u0644\u0628",
    "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0441\u043e\u0431\u0430\u043a\u0430 \u0438 \u041a\u041e\u0428\u041a\u0410",
    "\u0439 \u0438\u0306",
    "\u0e41\u0e21\u0e27", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u10e5\u10d0\u10e0\u10d7",
    "\u1260\u1245\u120e",
    "\u13e3\u13b3\u13a9", "\U00020000\U0002a6d6", "\U00012000", "\ufdfa", "\uf900",
    # Characters newer than one library or another.
    "\U0001e900\U0001e922", "\U00010d50\U00010d70", "\u1c89\u1c8a", "\ua7da", "\ua7d2", "\u1acf\u0334", "a\u1acf\u0334",
    "\U00011935\U00011930",
    "\U00011938", "\U000105d2\u0307", "\U00016d63\U00016d67", "\u0378", "\U000e0041", "\U0010ffff", "\ue000", "\ufdd0", "\uffff",
    # Emoji: skin tones, joiners, flags, key caps, variation selectors.
    "\U0001f600", "\U0001f436\U0001f431", "I \u2764\ufe0f NY", "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "a\U0001f98ab", "\u263a\ufe0e",
    "\U0001fae9", "\U0001f9d1\U0001f3fb\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f9d1\U0001f3ff",
    # Control and format characters.
    "\x00", "a\x00b", "\x01\x02\x03", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f", "soft\u00adhyphen", "zero\u200bwidth",
    "left\u200eright\u200f",
    "a\u2060b", "\ufffd", "\ufffc",
    # Special tokens inside the text.
    BOS, EOS, f"{BOS}cat{EOS}", f"a {EOS} b", f"a{EOS}b", "<|STARTOFTEXT|>", "<|EndOfText|>", "a<|ENDOFTEXT|>!!",
    "!<|endoftext|>!",
    "<|endoftext", "endoftext|>", "<| endoftext |>", "<|endoftext|><|endoftext|>", "<|end\u200boftext|>", "<<|endoftext|>>",
    "<|STARTOFTEXT|>'s",
    # Long texts and long words.
    "cat " * 75, "cat " * 76, "cat " * 100, "the quick brown fox jumps over the lazy dog " * 12, "a, " * 60, "word" * 40,
    "a" * 300, "!" * 300,
    "ha" * 200, "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "Donaudampfschifffahrtselektrizit\u00e4tenhauptbetriebswerkbauunterbeamtengesellschaft", "\u732b" * 40, "\U0001f431" * 30,
    "1" * 90,
    "x" * 257 + " y",
]


def write(name, value):
    """One line for each member, else compact: these files are large."""
    members = (f"{json.dumps(key)}:{json.dumps(member, separators=(',', ':'))}" for key, member in value.items())
    (GOLDENS / name).write_text("{\n" + ",\n".join(members) + "\n}\n")


def differences(values, standard):
    """{index: value} of the values that are not the standard ones."""
    return {str(i): value for i, (value, usual) in enumerate(zip(values, standard, strict=True)) if value != usual}


def ranges(scalars):
    """[[first, last], ...] of a sorted list."""
    result = []
    for scalar in scalars:
        if result and result[-1][1] == scalar - 1:
            result[-1][1] = scalar
        else:
            result.append([scalar, scalar])
    return result


def unicode_golden():
    scalars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    lower, nfc, nfd = normalizers.Lowercase(), normalizers.NFC(), normalizers.NFD()

    def kind(pattern):
        removed = normalizers.Replace(Regex(pattern), "")
        return ranges([ord(s) for s in scalars if removed.normalize_str(s) == ""])

    def changed(normalizer):
        pairs = [(s, normalizer.normalize_str(s)) for s in scalars]
        return [[ord(s), *map(ord, result)] for s, result in pairs if s != result]

    compositions = [
        [ord(s), *map(ord, nfd.normalize_str(s))]
        for s in scalars
        if nfd.normalize_str(s) != s and nfc.normalize_str(nfd.normalize_str(s)) == s
        if not 0xAC00 <= ord(s) <= 0xD7A3 or ord(s) % 401 == 0
    ]
    # U+0345 has the combining class 240: what is reordered moves before it.
    reordered = [
        ord(s) for s in scalars if nfc.normalize_str("1\u0345" + s) == nfc.normalize_str("1" + s + "\u0345") != "1\u0345" + s
    ]
    write("unicode.json", {
        "madeBy": MADE_BY, "letters": kind(r"\p{L}"), "numbers": kind(r"\p{N}"), "spaces": kind(r"\s"),
        "lowercase": changed(lower), "nfc": changed(nfc), "compositions": compositions, "reordered": ranges(reordered),
    })


def byte_alphabet():
    """Byte to character in the order of CLIP's vocabulary (openai/CLIP: bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}


def base_vocabulary():
    letters = list(byte_alphabet().values())
    return letters + [letter + "</w>" for letter in letters]


def words_of(backend, text):
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def train(corpus, size):
    """Plain byte-pair encoding: all pairs counted anew before each merge; ties go to the smaller ids."""
    backend = CLIPTokenizer().backend_tokenizer
    tokens, merges = base_vocabulary(), []
    index = {token: i for i, token in enumerate(tokens)}
    counted = collections.Counter(word for line in corpus for word in words_of(backend, line))
    words = [[[index[c] for c in word[:-1]] + [index[word[-1] + "</w>"]], n] for word, n in counted.items()]
    while len(tokens) + 2 < size:
        pairs = collections.Counter()
        for symbols, n in words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((tokens[left], tokens[right]))
        product = tokens[left] + tokens[right]
        if product not in index:
            index[product] = len(tokens)
            tokens.append(product)
        for entry in words:
            symbols, merged = entry[0], []
            while symbols:
                if symbols[:2] == [left, right]:
                    merged.append(index[product])
                    symbols = symbols[2:]
                else:
                    merged.append(symbols[0])
                    symbols = symbols[1:]
            entry[0] = merged
    return {token: i for i, token in enumerate([*tokens, BOS, EOS])}, merges


def added(content, special=True, normalized=False):
    flags = {"lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False, "special": special}
    return {"content": content, **flags}


def configurations(size):
    """Ways to write a tokenizer folder: files beside the vocabulary, and how the vocabulary itself is stored."""
    bos, eos = size - 2, size - 1
    named = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    legacy = {key: {k: v for k, v in added(value, normalized=True).items() if k != "special"}
              for key, value in {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS}.items()}
    typed = {key: {"__type": "AddedToken", **value} for key, value in legacy.items()}
    return {
        # As in SD 1.5.
        "stable-diffusion-v1-5 tokenizer": ("vocab.json", {
            "tokenizer_config.json": {**named, **typed, "errors": "replace", "pad_token": EOS, "do_lower_case": True},
            "special_tokens_map.json": {**legacy, "pad_token": EOS}}),
        # As in SDXL's two folders: the padding of the second is an ordinary symbol, and found in the text as such.
        "stable-diffusion-xl-base-1.0 tokenizer": ("vocab.json", {
            "tokenizer_config.json": {**named, "pad_token": EOS, "clean_up_tokenization_spaces": True, "added_tokens_decoder": {
                str(bos): added(BOS, normalized=True), str(eos): added(EOS, normalized=True)}},
            "special_tokens_map.json": {**legacy, "pad_token": EOS}}),
        "stable-diffusion-xl-base-1.0 tokenizer_2": ("vocab.json", {
            "tokenizer_config.json": {**named, "pad_token": "!", "clean_up_tokenization_spaces": True, "added_tokens_decoder": {
                "0": added("!"), str(bos): added(BOS, normalized=True), str(eos): added(EOS, normalized=True)}},
            "special_tokens_map.json": {**legacy, "pad_token": "!"}}),
        "vocabulary and merges only": ("vocab.json", {}),
        "tokenizer.json only": ("tokenizer.json", {}),
        "tokenizer.json and configuration": ("tokenizer.json", {"tokenizer_config.json": {**named, "pad_token": EOS}}),
        # Textual inversion: new tokens, one of them upper case, in the older and the newer way.
        "learned tokens, added_tokens.json": ("vocab.json", {
            "tokenizer_config.json": {**named, "pad_token": EOS}, "special_tokens_map.json": {**legacy, "pad_token": EOS},
            "added_tokens.json": {"<S0>": size, "\u732b": size + 1}}),
        "learned tokens, added_tokens_decoder": ("vocab.json", {
            "tokenizer_config.json": {**named, "model_max_length": 16, "pad_token": "<pad>", "additional_special_tokens": ["FOX"],
                "added_tokens_decoder": {str(bos): added(BOS), str(eos): added(EOS), str(size): added("<S0>", False, True),
                    str(size + 1): added("<s", False, False), str(size + 2): added("<pad>", False, False)}}}),
    }


def trained_golden():
    folder = GOLDENS / "trained"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    vocabulary, merges = train((GOLDENS / "corpus.txt").read_text().splitlines(), TRAINED_SIZE)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, indent=0) + "\n")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges)]) + "\n")
    CLIPTokenizer.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    cases, standard = [], {}
    for name, (layout, contents) in configurations(len(vocabulary)).items():
        files = {file: json.dumps(content) for file, content in contents.items()}
        with tempfile.TemporaryDirectory() as temporary:
            directory = pathlib.Path(temporary)
            for file in ["vocab.json", "merges.txt"] if layout == "vocab.json" else ["tokenizer.json"]:
                shutil.copy(folder / file, directory)
            for file, content in files.items():
                (directory / file).write_text(content)
            tokenizer = CLIPTokenizer.from_pretrained(directory)
        length = tokenizer.model_max_length if tokenizer.model_max_length < 1e9 else 77
        padded = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length)
        ids = tokenizer(TEXTS)["input_ids"]
        results = {"ids": ids, "decoded": tokenizer.batch_decode(ids),
                   "decodedPlain": tokenizer.batch_decode(ids, skip_special_tokens=True)}
        if not cases:
            standard = {**results, "tokens": [tokenizer.tokenize(text) for text in TEXTS]}
        cases.append({
            "name": name, "layout": layout, "files": files, "modelMaxLength": length, "padTokenID": tokenizer.pad_token_id,
            "padded": [padded["input_ids"][i] for i in PADDED], "masks": [padded["attention_mask"][i] for i in PADDED],
            **{key: differences(values, standard[key]) for key, values in results.items()},
        })
    write("trained.json", {"madeBy": MADE_BY, "texts": TEXTS, "padded": PADDED, **standard, "cases": cases})


def bpe(word, ranks, used):
    """Plain byte-pair encoding of one word; collects the merges that apply."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]
        if not pairs:
            return symbols
        best = min(pairs, key=ranks.__getitem__)
        used.add(best)
        at = next(i for i, pair in enumerate(zip(symbols, symbols[1:])) if pair == best)
        symbols[at:at + 2] = ["".join(best)]


def clip_golden(wheel):
    packed = zipfile.ZipFile(wheel).read("open_clip/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed).decode().split("\n")[1:49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    tokens = [*base_vocabulary(), *("".join(merge) for merge in merges), BOS, EOS]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    assert len(vocabulary) == 49408 and vocabulary[EOS] == 49407
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        (directory / "vocab.json").write_text(json.dumps(vocabulary))
        (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
        tokenizer = CLIPTokenizer.from_pretrained(directory)
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]

    # The merges that some word uses, with their ranks, suffice: in each word the lowest merge that is possible is always one of
    # them, so the same merges apply in the same order. The whole vocabulary need not be kept.
    ranks, used = {merge: rank for rank, merge in enumerate(merges)}, set()
    for text in TEXTS:
        for word in words_of(tokenizer.backend_tokenizer, text):
            bpe(word, ranks, used)
    kept = sorted(used, key=ranks.__getitem__)
    write("clip.json", {
        "madeBy": MADE_BY, "vocabulary": "openai/CLIP bpe_simple_vocab_16e6, MIT licence, Copyright (c) 2021 OpenAI; an extract",
        "ids": tokenizer(TEXTS)["input_ids"], "merges": [[*merge, vocabulary["".join(merge)]] for merge in kept],
    })
    print(f"CLIP's vocabulary: {len(vocabulary)} tokens; {len(TEXTS)} texts use {len(kept)} of its {len(merges)} merges")


# Padding and truncation depend on the number of tokens alone: none, few, one less than fit, as many as fit, more.
PADDED = [TEXTS.index(text) for text in ["", "a cat", "cat " * 75, "cat " * 76, "cat " * 100, "!!!", f"a {EOS} b", "!" * 300]]

if __name__ == "__main__":
    assert len(set(TEXTS)) == len(TEXTS), [t for t in TEXTS if TEXTS.count(t) > 1]
    unicode_golden()
    trained_golden()
    clip_golden(sys.argv[1])
    print(f"{len(TEXTS)} texts, {len(configurations(TRAINED_SIZE))} configurations")
