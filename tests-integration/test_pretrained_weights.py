"""Weights of PyTorch, Hugging Face and version 0.1.0: read by nn_io, loaded by nn_transformer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import load_state_dict_from_file, rename_state, save_model_parameters
from nn_tensor import Tensor
from nn_transformer import (
    Decoder,
    Encoder,
    LanguageModel,
    MultiHeadAttention,
    Transformer,
    bert_settings,
    causal_mask,
    from_bert,
    from_gpt2,
    from_torch_attention,
    from_torch_transformer,
    gpt2_settings,
    renames_since_0_1,
    torch_transformer_settings,
)
from nn_transformer.pretrained.bert import BERT
from nn_transformer.pretrained.gpt2 import GPT2
from nn_transformer.pretrained.pytorch import TORCH_ATTENTION, torch_transformer_map

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "weights.md"
FILES_0_1 = ROOT / "packages" / "nn-transformer" / "tests" / "data" / "version_0_1"
PRESENT = np.arange(9) < np.array([[9], [5]])  # of a batch of two; the rest is padding
WIDTH, HEADS, VOCAB = 16, 4, 50


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def randomized(module: Any) -> Any:
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3)
    return module.eval()


def token_ids(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, (2, 9))


def bert(hugging_face: Any, kind: str) -> Any:
    config = hugging_face.BertConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=40,
        max_position_embeddings=12,
    )
    return randomized(getattr(hugging_face, kind)(config))


def gpt2(hugging_face: Any, **options: Any) -> Any:
    config = hugging_face.GPT2Config(
        vocab_size=VOCAB,
        n_embd=WIDTH,
        n_layer=3,
        n_head=HEADS,
        n_positions=12,
        bos_token_id=0,
        eos_token_id=0,
        **options,
    )
    return randomized(hugging_face.GPT2LMHeadModel(config))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_bert_of_hugging_face(hugging_face: Any, kind: str, tmp_path: Path, device: str) -> None:
    import torch

    source = bert(hugging_face, kind)
    source.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    model = Encoder(**bert_settings(state, HEADS), device=device).eval()
    model.load_state_dict(from_bert(state))
    tokens, segments = token_ids(), (np.arange(9) > 3) * np.ones((2, 1), np.int64)
    with torch.no_grad():
        expected = getattr(source, "bert", source)(
            input_ids=torch.tensor(tokens),
            attention_mask=torch.tensor(PRESENT.astype(np.int64)),
            token_type_ids=torch.tensor(segments),
        ).last_hidden_state
    mask = Tensor(PRESENT[:, None, None], device=device)
    result = model(Tensor(tokens, device=device), mask, Tensor(segments, device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore")
def test_bert_of_hugging_face_without_segments_and_mask(hugging_face: Any, device: str) -> None:
    import torch

    source = bert(hugging_face, "BertModel")
    state = source.state_dict()
    model = Encoder(**bert_settings(state, HEADS), device=device).eval()
    model.load_state_dict(from_bert(state))
    with torch.no_grad():
        expected = source(input_ids=torch.tensor(token_ids())).last_hidden_state
    result = model(Tensor(token_ids(), device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore")
def test_a_fine_tuned_head_is_not_lost_silently(hugging_face: Any, tmp_path: Path) -> None:
    bert(hugging_face, "BertForSequenceClassification").save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unknown: classifier\.weight"):
        from_bert(state)
    Encoder(**bert_settings(state, HEADS, ["pooler", "classifier"])).load_state_dict(
        from_bert(state, ["pooler", "classifier"])
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
def test_gpt2_of_hugging_face(hugging_face: Any, tied: bool, tmp_path: Path, device: str) -> None:
    import torch

    source = gpt2(hugging_face, tie_word_embeddings=tied)
    source.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    settings = gpt2_settings(state, HEADS)
    assert settings["tie_weights"] is tied
    model = LanguageModel(**settings, device=device).eval()
    model.load_state_dict(from_gpt2(state))
    with torch.no_grad():
        expected = source(torch.tensor(token_ids())).logits
    result = model(Tensor(token_ids(), device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore")
def test_half_precision_files(hugging_face: Any, tmp_path: Path, device: str) -> None:
    import torch

    source = gpt2(hugging_face).to(torch.bfloat16)
    source.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    model = LanguageModel(**gpt2_settings(state, HEADS), device=device).eval()
    model.load_state_dict(from_gpt2(state))
    with torch.no_grad():
        expected = source.float()(torch.tensor(token_ids())).logits
    result = model(Tensor(token_ids(), device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_of_torch(norm_first: bool, tmp_path: Path, device: str) -> None:
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    reference = torch.nn.Transformer(
        WIDTH, HEADS, 2, 2, 24, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    randomized(reference).train()  # in eval mode PyTorch gives zeros for padding
    files.save_file(reference.state_dict(), tmp_path / "model.safetensors")
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    model = Transformer(
        VOCAB,
        VOCAB,
        norm_first=norm_first,
        device=device,
        **torch_transformer_settings(state, HEADS),
    ).eval()
    model.load_state_dict({**model.state_dict(), **from_torch_transformer(state)})
    rng = np.random.default_rng(0)
    source = rng.standard_normal((2, 9, WIDTH)).astype(np.float32)
    target = rng.standard_normal((2, 5, WIDTH)).astype(np.float32)
    with torch.no_grad():
        expected = reference(
            torch.tensor(source),
            torch.tensor(target),
            tgt_mask=torch.tensor(~np.tri(5, dtype=bool)),
            src_key_padding_mask=torch.tensor(~PRESENT),
            memory_key_padding_mask=torch.tensor(~PRESENT),
        )
    mask = Tensor(PRESENT[:, None, None], device=device)
    memory = model.encoder.run(Tensor(source, device=device), mask)
    result = model.decoder.run(
        Tensor(target, device=device), memory, causal_mask(5, device=device), mask
    )
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_torch(bias: bool, tmp_path: Path, device: str) -> None:
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    source = randomized(torch.nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True))
    files.save_file(source.state_dict(), tmp_path / "model.safetensors")
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    model = MultiHeadAttention(WIDTH, HEADS, bias=bias, device=device)
    model.load_state_dict(from_torch_attention(state))
    array = np.random.default_rng(0).standard_normal((2, 9, WIDTH)).astype(np.float32)
    x, y = torch.tensor(array), Tensor(array, device=device)
    with torch.no_grad():
        expected, _ = source(x, x, x, key_padding_mask=torch.tensor(~PRESENT))
    result = model(y, y, y, Tensor(PRESENT[:, None, None], device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_a_file_gives_what_the_arrays_gave(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state: dict[str, Any] = {
        "in_proj_weight": rng.random((48, 16)),
        "out_proj.weight": rng.random((16, 16)),
        "__metadata__": {"format": "pt"},
    }
    save_model_parameters(state, tmp_path / f"model{suffix}")
    read = from_torch_attention(load_state_dict_from_file(tmp_path / f"model{suffix}"))
    for path, array in from_torch_attention(state).items():
        np.testing.assert_array_equal(read[path], array)


def tables_of_the_page() -> dict[str, set[tuple[str, str, str]]]:
    """Return the rows below each heading: source, target, and conversion."""
    tables: dict[str, set[tuple[str, str, str]]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif re.match(r"\| `.*` \| `.*` \| \w", line):
            source, target, conversion = (cell.strip() for cell in line.strip("| ").split(" | "))
            row = source.strip("`"), target.strip("`"), conversion
            tables.setdefault(heading, set()).add(row)
    return tables


def rows_of(weights: Any) -> set[tuple[str, str, str]]:
    conversions = {
        (0, 0): "unchanged",
        (1, 0): "transposed",
        (0, 1): "split into three",
        (1, 1): "transposed, split into three",
    }
    return {(w.source, w.target, conversions[w.transposed, "*" in w.target]) for w in weights}


def test_the_page_shows_the_maps() -> None:
    tables = tables_of_the_page()
    assert tables["BERT"] == rows_of(BERT.weights)
    assert tables["GPT-2"] == rows_of(GPT2.weights)
    assert tables["nn.MultiheadAttention"] == rows_of(TORCH_ATTENTION.weights)
    stack = torch_transformer_map(["layers.0.multihead_attn.in_proj_weight"]).weights
    layer = torch_transformer_map(["multihead_attn.in_proj_weight"]).weights
    final_norm = [weight for weight in stack if weight.source.startswith("norm.")]
    assert tables["nn.Transformer, its stacks and its layers"] == rows_of([*layer, *final_norm])


SMALL: dict[str, Any] = {"d_model": 4, "num_heads": 2, "d_ff": 3, "max_seq_len": 6}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (
            "transformer",
            lambda: Transformer(5, 6, **SMALL, num_layers=1, norm_first=True, bias=False),
        ),
        ("language_model", lambda: LanguageModel(5, **SMALL, num_layers=2, bias=False)),
        (
            "encoder",
            lambda: Encoder(
                5,
                **SMALL,
                num_layers=1,
                num_segments=2,
                positions="learned",
                embedding_norm=True,
                bias=False,
            ),
        ),
        ("decoder", lambda: Decoder(5, **SMALL, num_layers=1)),
    ],
)
def test_files_of_version_0_1(name: str, make: Any, tmp_path: Path) -> None:
    """What they compute is tested in nn-transformer."""
    state = load_state_dict_from_file(FILES_0_1 / f"{name}.safetensors")
    model = make()
    model.load_state_dict(rename_state(state, renames_since_0_1(state)))
    save_model_parameters(model, tmp_path / "model.safetensors")
    again = load_state_dict_from_file(tmp_path / "model.safetensors")
    for old, new in renames_since_0_1(state).items():
        np.testing.assert_array_equal(again[new], state[old])
