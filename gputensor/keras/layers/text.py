"""Layers that look words and numbers up in a vocabulary; they run on the host."""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.layers.base import Layer
from gputensor.keras.layers.preprocessing import encoded
from gputensor.ops.creation import asarray
from gputensor.shown import retold

__all__ = ["IntegerLookup", "StringLookup", "TextVectorization"]


def _host(data: Any) -> "np.ndarray[Any, Any]":
    """Words or numbers as an array of NumPy's."""
    if isinstance(data, Tensor):
        return data.detach().numpy()
    if hasattr(data, "__array__") or isinstance(data, (list, tuple, str, int, bytes)):
        return np.asarray(data)
    return np.asarray(list(data))


def _utf8(layer: str, encoding: str) -> None:
    if encoding.lower() not in ("utf-8", "utf8"):
        raise ValueError(f"{layer}: encoding is {encoding!r}; texts are str, or bytes of UTF-8")


class _Lookup(Layer):
    """What lookups share.

    Parameters
    ----------
    max_tokens : int, optional
        Size of the vocabulary with what is special.
    num_oov_indices : int
        Numbers for what is not in the vocabulary.
    mask_token : optional
        What has the number 0, if it is given.
    oov_token : what such numbers are turned back into
    vocabulary : sequence, or path of a file with a line each, optional
    idf_weights : sequence of float, optional
        Of the vocabulary, for "tf_idf".
    invert : bool
        Whether numbers are turned into entries of the vocabulary.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}
    """

    built = True
    _kind: Any = str

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = None,
        vocabulary: Any = None,
        vocabulary_dtype: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(sparse=sparse or None, **kwargs)
        name = type(self).__name__
        if output_mode not in ("int", "one_hot", "multi_hot", "count", "tf_idf"):
            raise ValueError(f"{name}: output_mode {output_mode!r} is unknown")
        if invert and output_mode != "int":
            raise ValueError(f"{name}: with invert=True the output_mode must be 'int'")
        self.max_tokens, self.num_oov_indices = max_tokens, num_oov_indices
        self.mask_token, self.oov_token = mask_token, oov_token
        self.invert, self.output_mode = bool(invert), output_mode
        self.pad_to_max_tokens = bool(pad_to_max_tokens)
        self._entries: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._idf: Any = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    @property
    def _special(self) -> int:
        """How many numbers are before the vocabulary."""
        masked = self.mask_token is not None and self.output_mode == "int"
        return int(masked) + self.num_oov_indices

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take these entries, in this order; special ones at the front are left out."""
        if isinstance(vocabulary, (str, Path)):
            vocabulary = Path(vocabulary).read_text(encoding="utf-8").splitlines()
        entries = [self._kind(v) for v in _host(vocabulary).tolist()]
        front = ([self.mask_token] if self.mask_token is not None else []) + [
            self.oov_token
        ] * self.num_oov_indices
        if entries[: len(front)] == front:
            entries = entries[len(front) :]
        elif self.num_oov_indices and entries[:1] == [self.oov_token]:
            entries = entries[self.num_oov_indices :]
        twice = [e for e, n in Counter(entries).items() if n > 1]
        if twice:
            raise ValueError(f"{type(self).__name__}: the vocabulary has {twice[0]!r} twice")
        self._entries = entries
        self._numbers = {e: i + self._special for i, e in enumerate(entries)}
        self._idf = None
        if idf_weights is not None:
            weights = _host(idf_weights).astype(np.float32)
            self._idf = np.concatenate(
                [np.full(self.num_oov_indices, weights.mean(), np.float32), weights]
            )

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The entries by number."""
        if not include_special_tokens:
            return list(self._entries)
        masked = self.mask_token is not None and self.output_mode == "int"
        front = [self.mask_token] if masked else []
        return [*front, *[self.oov_token] * self.num_oov_indices, *self._entries]

    def get_config(self) -> dict[str, Any]:
        """As of every layer, with the vocabulary that it has now."""
        found = super().get_config()
        if self._entries:
            found["vocabulary"] = list(self._entries)
        if self._idf is not None:
            found["idf_weights"] = self._idf[self.num_oov_indices :].tolist()
        return found

    def vocabulary_size(self) -> int:
        """Number of entries with the special ones."""
        return self._special + len(self._entries)

    def adapt(self, data: Any, batch_size: Any = None, steps: Any = None) -> None:
        """Take the entries of a data set, the most frequent first."""
        if steps is not None:
            raise ValueError(
                f"adapt: steps is {steps}; the whole of data is taken, give the part that counts"
            )
        samples = [self._tokens_of(sample) for sample in self._samples(data)]
        counts: Counter[Any] = Counter(token for sample in samples for token in sample)
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        order = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            order = order[: max(self.max_tokens - self._special, 0)]
        weights = None
        if self.output_mode == "tf_idf":
            there: Counter[Any] = Counter(token for sample in samples for token in set(sample))
            weights = [np.log(1 + len(samples) / (1 + there[token])) for token in order]
        self.set_vocabulary(order or np.asarray([], dtype=object), weights)

    def _samples(self, data: Any) -> Iterable[Any]:
        array = _host(data)
        return array.reshape(-1, 1) if array.ndim < 2 else array

    def _tokens_of(self, sample: Any) -> list[Any]:
        return [self._kind(v) for v in np.asarray(sample).reshape(-1).tolist()]

    def _number(self, token: Any) -> int:
        masked = self.mask_token is not None and self.output_mode == "int"
        if masked and token == self.mask_token:
            return 0
        found = self._numbers.get(token)
        if found is not None:
            return found
        if not self.num_oov_indices:
            raise ValueError(f"{type(self).__name__}: {token!r} is not in the vocabulary")
        if self.num_oov_indices == 1:
            return int(masked)
        text = str(token).encode()
        return int(masked) + int.from_bytes(text, "little") % self.num_oov_indices

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape, or that of rows."""
        if self.output_mode == "int":
            return input_shape
        return (*input_shape[:-1], self.vocabulary_size())

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Numbers of words, words of numbers, or rows of numbers; on the host."""
        return self.call(*args)

    def call(self, x: Any) -> Any:
        """See :meth:`__call__`."""
        array = _host(x)
        flat = array.reshape(-1).tolist()
        if self.invert:
            entries = self.get_vocabulary()
            words = [
                entries[i] if 0 <= i < len(entries) else self.oov_token for i in map(int, flat)
            ]
            return np.asarray(words).reshape(array.shape)
        numbers = np.asarray([self._number(self._kind(v)) for v in flat], np.int64)
        return self._encoded(numbers.reshape(array.shape))

    def _encoded(self, numbers: "np.ndarray[Any, Any]") -> Tensor:
        if self.output_mode == "int":
            return asarray(numbers)
        size = self.vocabulary_size()
        if self.pad_to_max_tokens and self.max_tokens is not None:
            size = self.max_tokens
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        rows = encoded(asarray(numbers), size, mode)
        if self.output_mode != "tf_idf":
            return rows
        if self._idf is None:
            raise ShapeError(
                f"{type(self).__name__}: it has no weights yet; call adapt(data) first"
            )
        weights = np.zeros(size, np.float32)
        weights[: len(self._idf)] = self._idf
        return rows * asarray(weights)


class StringLookup(_Lookup):
    __doc__ = retold(
        _Lookup,
        "Numbers of words.",
        '>>> keras.layers.StringLookup(vocabulary=["a", "b"])(np.array([["b", "a"]]))\n'
        "tensor([[2, 1]])",
    )

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        _utf8(type(self).__name__, encoding)
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            None,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            **kwargs,
        )


class IntegerLookup(_Lookup):
    __doc__ = retold(
        _Lookup,
        "Numbers of whole numbers.",
        ">>> keras.layers.IntegerLookup(vocabulary=[10, 20])(np.array([[20, 10]]))\n"
        "tensor([[2, 1]])",
    )
    _kind = int

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = -1,
        vocabulary: Any = None,
        vocabulary_dtype: Any = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary,
            vocabulary_dtype,
            idf_weights,
            invert,
            output_mode,
            sparse,
            pad_to_max_tokens,
            **kwargs,
        )


_PUNCTUATION = str.maketrans("", "", string.punctuation)
_STANDARDS: dict[Any, Callable[[str], str]] = {
    None: lambda text: text,
    "lower": str.lower,
    "strip_punctuation": lambda text: text.translate(_PUNCTUATION),
    "lower_and_strip_punctuation": lambda text: text.lower().translate(_PUNCTUATION),
}
_SPLITS: dict[Any, Callable[[str], list[str]]] = {
    None: lambda text: [text],
    "whitespace": str.split,
    "character": list,
}


class TextVectorization(StringLookup):
    """Texts as rows of numbers of their words.

    Parameters
    ----------
    max_tokens : int, optional
        Size of the vocabulary with what is special: "" for padding, "[UNK]" for unknown words.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation", None} or callable
        What is done with a text first; a function takes one text and gives one.
    split : {"whitespace", "character", None} or callable
        How it becomes words.
    ngrams : int or sequence of int, optional
        Words in a row that count as one, up to that many or so many.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}
    output_sequence_length : int, optional
        Length of rows with "int": the rest is cut off, or filled up with 0.
    pad_to_max_tokens : bool
    vocabulary : sequence of str, or path, optional
    idf_weights : sequence of float, optional

    Examples
    --------
    >>> layer = keras.layers.TextVectorization()
    >>> layer.adapt(["a cat", "a dog"])
    >>> layer(["a cat"]).shape
    (1, 2)
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        _utf8(type(self).__name__, encoding)
        for name, value, known in (
            ("standardize", standardize, _STANDARDS),
            ("split", split, _SPLITS),
        ):
            if not callable(value) and value not in known:
                raise ValueError(
                    f"TextVectorization: {name} is {value!r}; allowed are {list(known)} and "
                    "functions of a text"
                )
        self.standardize, self.split = standardize, split
        self.ngrams = range(1, ngrams + 1) if isinstance(ngrams, int) else ngrams
        self.output_sequence_length = output_sequence_length
        mask = "" if output_mode == "int" else None
        super().__init__(
            max_tokens,
            1,
            mask,
            "[UNK]",
            vocabulary,
            idf_weights,
            False,
            output_mode,
            pad_to_max_tokens,
            sparse,
            ragged=ragged or None,
            **kwargs,
        )

    def _samples(self, data: Any) -> Iterable[Any]:
        return [str(text) for text in _host(data).reshape(-1).tolist()]

    def _tokens_of(self, sample: Any) -> list[str]:
        clean = self.standardize if callable(self.standardize) else _STANDARDS[self.standardize]
        cut = self.split if callable(self.split) else _SPLITS[self.split]
        text = re.sub(r"\s", " ", str(sample)) if self.split == "whitespace" else str(sample)
        words = list(cut(clean(text)))
        if self.ngrams is None:
            return words
        return [" ".join(words[i : i + n]) for n in self.ngrams for i in range(len(words) - n + 1)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """A row for each text."""
        if self.output_mode == "int":
            return (input_shape[0], self.output_sequence_length)
        return (input_shape[0], self.vocabulary_size())

    def call(self, x: Any) -> Any:
        """Rows of numbers, or of counts; one of a single text."""
        array = _host(x)
        texts = [str(text) for text in array.reshape(-1).tolist()]
        rows = [[self._number(token) for token in self._tokens_of(text)] for text in texts]
        length = self.output_sequence_length
        if self.output_mode == "int":
            longest = max(map(len, rows), default=0) if length is None else length
            whole = np.zeros((len(rows), longest), np.int64)
            for i, row in enumerate(rows):
                whole[i, : len(row[:longest])] = row[:longest]
            return asarray(whole if array.ndim else whole[0])
        parts = [self._encoded(np.asarray(row, np.int64).reshape(1, -1)).numpy() for row in rows]
        found = np.concatenate(parts)
        return asarray(found if array.ndim else found[0])
