"""Tokens per second of a small language model: 4 layers, 4 heads, embedding dimension 128.

Run it with: python benchmarks/generation.py

Both decode greedily with a KV cache, which PyTorch allocates at its full size and nn by doubling.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from measure import side_by_side
from nn_transformer import LanguageModel, generate

VOCAB_SIZE, D_MODEL, NUM_HEADS, NUM_LAYERS, MAX_SEQ_LEN = 65, 128, 4, 4, 520
PROMPT_LENGTH = 8


def make_model() -> LanguageModel:
    model = LanguageModel(
        VOCAB_SIZE, D_MODEL, NUM_HEADS, NUM_LAYERS, max_seq_len=MAX_SEQ_LEN, dropout=0.0, rng=0
    )
    for parameter in model.parameters:  # so that the most probable token is clear
        if parameter.ndim == 2:
            parameter.data *= 4
    return model


def make_torch_generate(source: LanguageModel) -> Callable[[np.ndarray, int], list[list[int]]]:
    """Return the generation function of the same model in PyTorch."""
    import torch
    from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

    state = {k: torch.tensor(v) for k, v in source.state_dict().items() if k != "__metadata__"}
    # torch.nn.functional.linear takes (outputs, inputs).
    state = {k: v.T.contiguous() if is_dense(k) else v for k, v in state.items()}
    layers = []
    for n in range(NUM_LAYERS):
        of = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"layers.{n}.")}
        names = [f"attention.{name}" for name in ("query", "key", "value")]
        of["qkv.weights"] = torch.cat([of[f"{name}.weights"] for name in names])
        of["qkv.bias"] = torch.cat([of[f"{name}.bias"] for name in names])
        layers.append(of)
    embedding, positions = state["embedding.weights"], state["positions.weights"]
    d_head = D_MODEL // NUM_HEADS

    def norm(x: torch.Tensor, of: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        return layer_norm(x, (D_MODEL,), of[f"{name}.weights"], of[f"{name}.bias"])

    def dense(x: torch.Tensor, of: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        return linear(x, of[f"{name}.weights"], of[f"{name}.bias"])

    def run(prompt: np.ndarray, count: int) -> list[list[int]]:
        with torch.inference_mode():
            new = torch.tensor(prompt)
            batch, seen = len(prompt), 0
            keys, values = (
                torch.empty(NUM_LAYERS, batch, NUM_HEADS, MAX_SEQ_LEN, d_head) for _ in range(2)
            )
            out = []
            for _ in range(count):
                length = new.shape[1]
                stop = seen + length
                x = embedding[new] + positions[seen:stop]
                for n, of in enumerate(layers):
                    heads = dense(norm(x, of, "attention_norm"), of, "qkv")
                    heads = heads.view(batch, length, 3, NUM_HEADS, d_head).permute(2, 0, 3, 1, 4)
                    keys[n, :, :, seen:stop] = heads[1]
                    values[n, :, :, seen:stop] = heads[2]
                    mixed = scaled_dot_product_attention(
                        heads[0],
                        keys[n, :, :, :stop],
                        values[n, :, :, :stop],
                        is_causal=length > 1,
                    )
                    mixed = mixed.transpose(1, 2).reshape(batch, length, D_MODEL)
                    x = x + dense(mixed, of, "attention.output")
                    inner = gelu(dense(norm(x, of, "feed_forward_norm"), of, "feed_forward.hidden"))
                    x = x + dense(inner, of, "feed_forward.output")
                logits = linear(norm(x[:, -1:], state, "final_norm"), embedding)
                new = logits.argmax(-1)
                out.append(new)
                seen = stop
            return torch.cat(out, 1).tolist()

    return run


def is_dense(path: str) -> bool:
    """Return whether it is the matrix of a linear layer."""
    return path.endswith(".weights") and ("attention." in path or "feed_forward." in path)


def main() -> None:
    model = make_model()
    candidates = {
        "nn": lambda prompt, count: generate(model, prompt, count),
        "nn, jit": lambda prompt, count: generate(model, prompt, count, jit=True),
    }
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: no comparison with it")
    else:
        print(f"PyTorch {torch.__version__} with {torch.get_num_threads()} threads")
        candidates["PyTorch"] = make_torch_generate(model)
    rng = np.random.default_rng(1)
    for batch in (1, 8):
        prompt = rng.integers(0, VOCAB_SIZE, (batch, PROMPT_LENGTH))
        results = [run(prompt, 500) for run in candidates.values()]
        for result in results:
            assert result == results[0], "not the same tokens"
        for count in (125, 250, 500):
            calls = {
                name: (lambda run=run, prompt=prompt, count=count: run(prompt, count))
                for name, run in candidates.items()
            }
            show(batch, count, side_by_side(calls, calls=1, rounds=math.ceil(1500 / count)))
    prompt = rng.integers(0, VOCAB_SIZE, (1, PROMPT_LENGTH))
    assert generate(model, prompt, 500, use_cache=False) == generate(model, prompt, 500)
    slow = {"nn, no cache": lambda: generate(model, prompt, 500, use_cache=False)}
    show(1, 500, side_by_side(slow, calls=1, rounds=3))


def show(batch: int, count: int, medians: dict[str, float]) -> None:
    print(f"{batch} x {count} tokens")
    for name, median in medians.items():
        print(f"  {name:<14} {median / 1e3:9.1f} ms   {batch * count / median * 1e6:8.0f} tokens/s")


if __name__ == "__main__":
    main()
