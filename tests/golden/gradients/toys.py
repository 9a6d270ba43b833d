# Toy decoders in Hugging Face transformers, with weights that tests/support/toy.ts draws too, from the same integer hash.
# Knows the configurations and the names on both sides; knows nothing of losses.
import math

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

LINEAR = ["q", "k", "v", "o", "gate", "up", "down"]
GGUF = dict(q="attn_q", k="attn_k", v="attn_v", o="attn_output", gate="ffn_gate", up="ffn_up", down="ffn_down")
MODULE = dict(
    q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", o="self_attn.o_proj",
    gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", head="lm_head", embeddings="embed_tokens",
)  # fmt: skip


def case(name, architecture, **changes):
    """One toy: its shape and its adapter. The same fields stand in the golden file."""
    fields = dict(
        name=name, architecture=architecture, layers=2, width=48, heads=6, keyValueHeads=2, headWidth=8, feedForward=52,
        vocabulary=97, contextLength=256, tied=False, epsilon=1e-5, ropeBase=10000.0, ropeScaling=None, ropeFactors=None,
        lora=dict(rank=4, alpha=8, rsLora=False, targets=LINEAR),
    )  # fmt: skip
    fields.update(changes)
    return fields


def lora(rank, alpha, targets=LINEAR, rsLora=False):
    return dict(rank=rank, alpha=alpha, rsLora=rsLora, targets=list(targets))


def llama3_factors(head_width, base, factor, low, high, original):
    """Frequency factors as llama.cpp's converter writes them into rope_freqs.weight."""
    factors = []
    for i in range(0, head_width, 2):
        wavelength = 2 * math.pi * base ** (i / head_width)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(float(factor))
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(float(np.float32(1 / ((1 - smooth) / factor + smooth))))
    return factors


LLAMA3 = dict(type="llama3", factor=8.0, low=1.0, high=4.0, original=64)
CASES = [
    case("llama", "llama"),
    case("llama-odd", "llama", layers=3, width=60, heads=6, keyValueHeads=3, headWidth=10, feedForward=37, vocabulary=131,
         tied=True, lora=lora(3, 7)),
    case("llama-factors", "llama", width=40, heads=5, keyValueHeads=1, headWidth=16, feedForward=37, ropeScaling=LLAMA3,
         ropeFactors=llama3_factors(16, 10000.0, 8.0, 1.0, 4.0, 64)),
    case("llama-linear", "llama", ropeScaling=dict(type="linear", factor=4.0), lora=lora(5, 6, ["q", "k", "v", "o"])),
    case("llama-head", "llama", tied=True, lora=lora(4, 8, [*LINEAR, "head"])),
    case("llama-embeddings", "llama", lora=lora(3, 6, ["q", "v", "down", "embeddings"])),
    case("qwen2", "qwen2", feedForward=37, vocabulary=131, epsilon=1e-6, ropeBase=1000000.0),
    case("qwen2-tied", "qwen2", layers=3, width=60, heads=6, keyValueHeads=3, headWidth=10, tied=True, epsilon=1e-6,
         lora=lora(5, 4, rsLora=True)),
    case("qwen3", "qwen3", width=40, heads=4, keyValueHeads=2, headWidth=14, feedForward=52, epsilon=1e-6),
    case("qwen3-tied", "qwen3", layers=3, width=36, heads=3, keyValueHeads=1, headWidth=16, feedForward=37, vocabulary=131,
         tied=True, lora=lora(3, 9, [*LINEAR, "head", "embeddings"])),
    case("qwen2-long", "qwen2", layers=1, width=40, heads=4, keyValueHeads=2, headWidth=10, feedForward=37, vocabulary=271,
         contextLength=512, lora=lora(3, 6)),
]  # fmt: skip
# Toys whose every weight is trained: small, for a golden file holds a gradient of each. The adapter is not used.
SMALL = dict(width=18, heads=3, keyValueHeads=1, headWidth=6, feedForward=13, vocabulary=37)
FULL_CASES = [
    case("llama", "llama", **SMALL),
    case("llama-tied", "llama", **{**SMALL, "layers": 3, "keyValueHeads": 3, "width": 21, "headWidth": 10}, tied=True),
    case("qwen2", "qwen2", **SMALL, epsilon=1e-6),
    case("qwen2-tied", "qwen2", **{**SMALL, "width": 27, "headWidth": 4}, tied=True),
    case("qwen3", "qwen3", **{**SMALL, "layers": 3, "headWidth": 8}, epsilon=1e-6),
    case("qwen3-tied", "qwen3", **{**SMALL, "feedForward": 33}, tied=True),
]  # fmt: skip
# Lengths of the rows: more tokens and labels than the engine's blocks of attention and chunks of the loss.
LENGTHS = {"qwen2-long": dict(prefix=141, deeper=27, long=331, every=1)}


def noise(name, count):
    """Uniform in [-0.5, 0.5), float64: FNV-1a of the name, plus a Weyl sequence over elements, through murmur3's finaliser."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) & 0xFFFFFFFF
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + seed).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x.astype(np.float64) / 4294967296 - 0.5


def draw(name, shape):
    """The weight of this GGUF name in Hugging Face's order, (out, in) or (n)."""
    u = noise(name, math.prod(shape))
    if name.endswith("_norm.weight"):
        u = 1 + 0.4 * u
    elif name.endswith(".bias"):
        u = 0.5 * u
    elif "lora" in name:
        u = u * (2 / math.sqrt(shape[1]))
    elif name.startswith("blk."):
        u = u * (4 / math.sqrt(shape[1]))
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def gguf_name(parameter):
    """model.layers.0.self_attn.q_proj.weight → blk.0.attn_q.weight"""
    fixed = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, _, suffix = parameter.rpartition(".")
    if stem in fixed:
        return f"{fixed[stem]}.{suffix}"
    _, _, layer, *rest = stem.split(".")
    names = {MODULE[t]: GGUF[t] for t in LINEAR} | {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    }  # fmt: skip
    return f"blk.{layer}.{names['.'.join(rest)]}.{suffix}"


def configuration(toy):
    rope = {"rope_type": "default", "rope_theta": toy["ropeBase"]}
    scaling = toy["ropeScaling"]
    if scaling:
        rope = {"rope_type": scaling["type"], "rope_theta": toy["ropeBase"], "factor": scaling["factor"]}
        if scaling["type"] == "llama3":
            rope |= {"low_freq_factor": scaling["low"], "high_freq_factor": scaling["high"],
                     "original_max_position_embeddings": scaling["original"]}  # fmt: skip
    kinds = dict(llama=LlamaConfig, qwen2=Qwen2Config, qwen3=Qwen3Config)
    return kinds[toy["architecture"]](
        hidden_size=toy["width"], intermediate_size=toy["feedForward"], num_hidden_layers=toy["layers"],
        num_attention_heads=toy["heads"], num_key_value_heads=toy["keyValueHeads"], head_dim=toy["headWidth"],
        vocab_size=toy["vocabulary"], max_position_embeddings=toy["contextLength"], rms_norm_eps=toy["epsilon"],
        tie_word_embeddings=toy["tied"], rope_parameters=rope, use_cache=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip


def base_model(toy):
    model = AutoModelForCausalLM.from_config(configuration(toy), attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():  # a tied head is listed once, as the embeddings
            weight.copy_(draw(gguf_name(name), tuple(weight.shape)))
    return model


def adapter_name(parameter):
    """base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight → blk.0.ffn_up.lora_a"""
    module, _, factor = parameter.removeprefix("base_model.model.").removesuffix(".weight").partition(".lora_")
    side = "lora_a" if "A" in factor else "lora_b"
    return gguf_name(f"{module}.{side}")


def with_adapter(model, toy):
    """The model with a PEFT adapter whose A and B are drawn too, and its weights by GGUF name."""
    options = toy["lora"]
    peft = get_peft_model(model, LoraConfig(
        r=options["rank"], lora_alpha=options["alpha"], use_rslora=options["rsLora"], lora_dropout=0.0, bias="none",
        target_modules=[MODULE[t].rpartition(".")[2] for t in options["targets"]], task_type="CAUSAL_LM",
    ))  # fmt: skip
    weights = {adapter_name(name): weight for name, weight in peft.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(draw(name, tuple(weight.shape)))
    return peft, weights


def with_weights(model):
    """The model and all its weights by GGUF name; a tied head is the embeddings."""
    return model, {gguf_name(name): weight for name, weight in model.named_parameters()}


def gguf_order(toy, name, values):
    """Rows of W and B in the order of the GGUF: llama's q and k are stored in interleaved rotary pairs."""
    if toy["architecture"] != "llama" or not name.endswith(tuple(f".attn_{q}.{s}" for q in "qk" for s in ("weight", "lora_b"))):
        return values
    heads = values.shape[0] // toy["headWidth"]
    return values.reshape(heads, 2, toy["headWidth"] // 2, -1).swapaxes(1, 2).reshape(values.shape)


def rows(toy, seed="rows"):
    """Rows of different length, some with a common beginning; labels are the positions whose token is asked for."""

    lengths = LENGTHS.get(toy["name"], dict(prefix=7, deeper=4, long=75, every=6))

    def tokens(name, count):
        return [int(v) for v in ((noise(f"{seed}.{name}", count) + 0.5) * toy["vocabulary"])]

    prefix, deeper = tokens("prefix", lengths["prefix"]), tokens("deeper", lengths["deeper"])
    fork, deep = len(prefix), len(prefix) + len(deeper)  # where rows part
    return [
        dict(tokens=prefix + deeper + tokens("a", 5), labels=[deep + 3, deep + 4]),
        dict(tokens=prefix + deeper + tokens("b", 2), labels=[3, deep, deep + 1]),
        dict(tokens=prefix + tokens("c", 9), labels=[3, fork + 8]),
        dict(tokens=prefix + tokens("d", 3), labels=[fork, fork + 2]),
        dict(tokens=prefix[:5] + tokens("e", 1), labels=[5]),
        dict(tokens=tokens("short", 2), labels=[1]),
        dict(tokens=tokens("long", lengths["long"]), labels=[*range(2, lengths["long"] - 1, lengths["every"]), lengths["long"] - 1]),
    ]


def loss_sum(model, batch):
    """Sum over labels of -log p, each row on its own."""
    total = 0
    for row in batch:
        logits = model(input_ids=torch.tensor([row["tokens"]])).logits[0]
        at = torch.tensor(row["labels"])
        wanted = torch.tensor(row["tokens"])[at]
        total = total + torch.nn.functional.cross_entropy(logits[at - 1], wanted, reduction="sum")
    return total
