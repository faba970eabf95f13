"""Files of PyTorch and of Hugging Face: read by nn_io, mapped and run by nn_transformer."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_io import load_state_dict_from_file, save_model_parameters
from nn_tensor import Tensor
from nn_transformer import (
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
    torch_transformer_settings,
)
from nn_transformer._maps import BERT, GPT2, TORCH_ATTENTION, torch_table

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
PAGE = Path(__file__).parent.parent / "docs" / "weights.md"
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

    theirs = bert(hugging_face, kind)
    theirs.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    ours = Encoder(**bert_settings(state, HEADS), device=device).eval()
    ours.load_state_dict(from_bert(state))
    tokens, segments = token_ids(), (np.arange(9) > 3) * np.ones((2, 1), np.int64)
    with torch.no_grad():
        expected = getattr(theirs, "bert", theirs)(
            input_ids=torch.tensor(tokens),
            attention_mask=torch.tensor(PRESENT.astype(np.int64)),
            token_type_ids=torch.tensor(segments),
        ).last_hidden_state
    mask = Tensor(PRESENT[:, None, None], device=device)
    result = ours(Tensor(tokens, device=device), mask, Tensor(segments, device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore")
def test_bert_of_hugging_face_without_segments_and_mask(hugging_face: Any, device: str) -> None:
    import torch

    theirs = bert(hugging_face, "BertModel")
    state = theirs.state_dict()
    ours = Encoder(**bert_settings(state, HEADS), device=device).eval()
    ours.load_state_dict(from_bert(state))
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor(token_ids())).last_hidden_state
    result = ours(Tensor(token_ids(), device=device))
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

    theirs = gpt2(hugging_face, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    settings = gpt2_settings(state, HEADS)
    assert settings["tie_weights"] is tied
    ours = LanguageModel(**settings, device=device).eval()
    ours.load_state_dict(from_gpt2(state))
    with torch.no_grad():
        expected = theirs(torch.tensor(token_ids())).logits
    result = ours(Tensor(token_ids(), device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore")
def test_half_precision_files(hugging_face: Any, tmp_path: Path, device: str) -> None:
    import torch

    theirs = gpt2(hugging_face).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    ours = LanguageModel(**gpt2_settings(state, HEADS), device=device).eval()
    ours.load_state_dict(from_gpt2(state))
    with torch.no_grad():
        expected = theirs.float()(torch.tensor(token_ids())).logits
    result = ours(Tensor(token_ids(), device=device))
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_of_torch(norm_first: bool, tmp_path: Path, device: str) -> None:
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    theirs = torch.nn.Transformer(
        WIDTH, HEADS, 2, 2, 24, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    randomized(theirs).train()  # in eval mode PyTorch gives zeros for padding
    files.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    ours = Transformer(
        VOCAB,
        VOCAB,
        norm_first=norm_first,
        device=device,
        **torch_transformer_settings(state, HEADS),
    ).eval()
    ours.load_state_dict({**ours.state_dict(), **from_torch_transformer(state)})
    rng = np.random.default_rng(0)
    source = rng.standard_normal((2, 9, WIDTH)).astype(np.float32)
    target = rng.standard_normal((2, 5, WIDTH)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(
            torch.tensor(source),
            torch.tensor(target),
            tgt_mask=torch.tensor(~np.tri(5, dtype=bool)),
            src_key_padding_mask=torch.tensor(~PRESENT),
            memory_key_padding_mask=torch.tensor(~PRESENT),
        )
    mask = Tensor(PRESENT[:, None, None], device=device)
    memory = ours.encoder.run(Tensor(source, device=device), mask)
    result = ours.decoder.run(
        Tensor(target, device=device), memory, causal_mask(5, device=device), mask
    )
    np.testing.assert_allclose(result.numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_torch(bias: bool, tmp_path: Path, device: str) -> None:
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    theirs = randomized(torch.nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True))
    files.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    state = load_state_dict_from_file(tmp_path / "model.safetensors")
    ours = MultiHeadAttention(WIDTH, HEADS, bias=bias, device=device)
    ours.load_state_dict(from_torch_attention(state))
    array = np.random.default_rng(0).standard_normal((2, 9, WIDTH)).astype(np.float32)
    x, y = torch.tensor(array), Tensor(array, device=device)
    with torch.no_grad():
        expected, _ = theirs(x, x, x, key_padding_mask=torch.tensor(~PRESENT))
    result = ours(y, y, y, Tensor(PRESENT[:, None, None], device=device))
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
    """Return the rows below each heading: theirs, here, and the change."""
    tables: dict[str, set[tuple[str, str, str]]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif re.match(r"\| `.*` \| `.*` \|", line):
            theirs, ours, change = (cell.strip() for cell in line.strip("| ").split(" | "))
            tables.setdefault(heading, set()).add((theirs.strip("`"), ours.strip("`"), change))
    return tables


def rows_of(rows: Any) -> set[tuple[str, str, str]]:
    changes = {
        (0, 0): "as it is",
        (1, 0): "turned",
        (0, 1): "cut in three",
        (1, 1): "turned, cut in three",
    }
    return {(row.source, row.target, changes[row.turned, "*" in row.target]) for row in rows}


def test_the_page_shows_the_maps() -> None:
    tables = tables_of_the_page()
    assert tables["BERT"] == rows_of(BERT.rows)
    assert tables["GPT-2"] == rows_of(GPT2.rows)
    assert tables["nn.MultiheadAttention"] == rows_of(TORCH_ATTENTION.rows)
    stack = torch_table(["layers.0.multihead_attn.in_proj_weight"]).rows
    layer = torch_table(["multihead_attn.in_proj_weight"]).rows
    norm = [row for row in stack if row.source.startswith("norm.")]
    assert tables["nn.Transformer, its stacks and its layers"] == rows_of([*layer, *norm])
