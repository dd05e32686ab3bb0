"""Whisper's decoder, token by token over a batch of windows, with the layers of transformers' model.

What transformers does around its layers at every step (caches of any kind, masks, interfaces) takes a third of the
host's time for a token and more (bench/audio.md); here a step is the layers' own operators and nothing else.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from malgeul.models.attention import attend
from malgeul.speech.attention import NAME as BY_PRODUCTS

GROWTH = 64
"""Tokens by which the room for keys and values grows."""


class Decoder:
    """The decoder of a Whisper over windows of which it has the encoder's ``states`` (n, frames, dimension)."""

    def __init__(self, model: Any, states: Tensor) -> None:
        decoder = model.model.decoder
        self._tokens, self._places = decoder.embed_tokens, decoder.embed_positions.weight
        self._layers = [_Layer(layer, model.config, states) for layer in decoder.layers]
        self._norm = decoder.layer_norm
        self._said = 0

    def step(self, ids: Tensor) -> Tensor:
        """Return the hidden states of the tokens that follow, ``ids`` (n, tokens): (n, tokens, dimension).

        The prompt is one step, every token after it another.
        """
        said = self._said
        self._said += ids.shape[1]
        hidden = self._tokens(ids) + self._places[said : self._said]
        for layer in self._layers:
            hidden = layer(hidden, said)
        found: Tensor = self._norm(hidden)
        return found

    def keep(self, rows: Tensor) -> None:
        """Go on with these windows alone, in their order."""
        for layer in self._layers:
            layer.keep(rows, self._said)


class _Layer:
    """A layer with its keys and values, of the sound and of the tokens so far; what it is made of is looked up once."""

    def __init__(self, layer: Any, config: Any, states: Tensor) -> None:
        self._within = _Attention(layer.self_attn, config)
        self._across = _Attention(layer.encoder_attn, config)
        self._norms = (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm)
        self._up, self._act, self._down = layer.fc1, layer.activation_fn, layer.fc2
        self._of_sound = [made.contiguous() for made in self._across.keys_and_values(states)]
        self._of_tokens = [one[:, :, :0] for one in self._of_sound]

    def __call__(self, hidden: Tensor, said: int) -> Tensor:
        """Return what becomes of the hidden states of tokens (n, tokens, dimension) before which ``said`` were."""
        first, second, third = self._norms
        given = first(hidden)
        hidden = hidden + self._within(given, *self._with_new(given, said), causal=not said)
        hidden = hidden + self._across(second(hidden), *self._of_sound)
        moved: Tensor = hidden + self._down(self._act(self._up(third(hidden))))
        return moved

    def _with_new(self, given: Tensor, said: int) -> list[Tensor]:
        """Return the keys and values of the tokens so far and of those that are given."""
        new = self._within.keys_and_values(given)
        end = said + given.shape[1]
        if self._of_tokens[0].shape[2] < end:
            size = (len(given), new[0].shape[1], end + GROWTH, new[0].shape[3])
            grown = [one.new_empty(size) for one in new]
            for room, before in zip(grown, self._of_tokens, strict=True):
                room[:, :, :said] = before[:, :, :said]
            self._of_tokens = grown
        for room, one in zip(self._of_tokens, new, strict=True):
            room[:, :, said:end] = one
        return [room[:, :, :end] for room in self._of_tokens]

    def keep(self, rows: Tensor, said: int) -> None:
        """Go on with these rows; ``said`` tokens have keys."""
        self._of_sound = [one[rows] for one in self._of_sound]
        self._of_tokens = [room[:, :, :said][rows] for room in self._of_tokens]


class _Attention:
    def __init__(self, attention: Any, config: Any) -> None:
        self._heads, self._scale = config.decoder_attention_heads, attention.scaling
        self._by_products = config._attn_implementation == BY_PRODUCTS
        self._query, self._out = attention.q_proj, attention.out_proj
        self._key, self._value = attention.k_proj, attention.v_proj

    def keys_and_values(self, given: Tensor) -> list[Tensor]:
        """Return what is found by queries and what is then taken, of ``given`` (n, tokens, dimension), by heads."""
        return [self._in_heads(self._key(given)), self._in_heads(self._value(given))]

    def __call__(self, given: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False) -> Tensor:
        """Return what ``given`` (n, tokens, dimension) takes of the values; causal: of those before it alone."""
        asked = self._in_heads(self._query(given))
        if self._by_products and not causal:
            found = attend(asked.to(keys.dtype), keys, values, self._scale)
        else:
            found = scaled_dot_product_attention(
                asked.to(keys.dtype), keys, values, is_causal=causal, scale=self._scale
            )
        made: Tensor = self._out(found.transpose(1, 2).reshape(given.shape).to(asked.dtype))
        return made

    def _in_heads(self, made: Tensor) -> Tensor:
        """Return what a layer made (n, tokens, dimension) by its heads: (n, heads, tokens, dimension of a head)."""
        n, tokens, dimension = made.shape
        return made.view(n, tokens, self._heads, dimension // self._heads).transpose(1, 2)
