"""Writes what the reference readers say about adapters:

- safetensors.json: more than 300 bad files, and good ones beside them, with the verdict of Python's safetensors;
- halves.json: f16 and bf16 numbers with their f32 values;
- peft/: an adapter of every target on a tiny llama, written by PEFT, and its tensors in GGUF's order.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install numpy==2.4.6 torch==2.15.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0
    /tmp/golden/bin/python tests/golden/adapter.py

With --check it writes nothing, but lets stillroom (npm run build:typescript first) read that adapter and write it anew, loads
the copy with PEFT, and compares the logits of both.
"""

import base64
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
# Heads of 6: with 4 rows, the reordering of q and k would be its own inverse.
SHAPE = dict(hidden_size=16, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
             vocab_size=20, max_position_embeddings=32, tie_word_embeddings=False)


def accepted(data):
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        try:
            with safe_open(file.name, framework="numpy"):
                return True
        except BaseException:
            return False


def forbidden_by_the_text(data):
    """What the format's text forbids and the reference reader lets pass."""
    header = data[8 : 8 + struct.unpack("<Q", data[:8])[0]]
    found = [not header.startswith(b"{")]

    def pairs(items):
        names = [name for name, _ in items]
        found.append(len(set(names)) < len(names))
        return dict(items)

    parsed = json.loads(header, object_pairs_hook=pairs)
    found.append(any(isinstance(value, list) for value in parsed.values()))
    found.append(any(isinstance(v, dict) and isinstance(v.get("dtype"), dict) for v in parsed.values()))
    return any(found)


def pack(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(dtype="F32", shape="[1]", offsets="[0,4]", more=""):
    return f'{{"dtype":{json.dumps(dtype)},"shape":{shape},"data_offsets":{offsets}{more}}}'


def by_hand():
    four, t = bytes(4), tensor()
    yield "plain", pack(f'{{"a":{t}}}', four)
    yield "no tensors", pack("{}")
    yield "no tensors but data", pack("{}", four)
    yield "empty file", b""
    yield "seven bytes", bytes(7)
    yield "empty header", pack("")
    yield "length over the limit", pack("{}", length=100_000_001)
    yield "length 2^63", pack("{}", length=2**63)
    yield "length 2^64 - 1", pack("{}", length=2**64 - 1)
    yield "length one too long", pack("{}", length=3)
    yield "space in front", pack(f' {{"a":{t}}}', four)
    yield "byte order mark", pack(b"\xef\xbb\xbf" + f'{{"a":{t}}}'.encode(), four)
    yield "spaces behind", pack(f'{{"a":{t}}}  \n\t\r', four)
    yield "NUL behind", pack(f'{{"a":{t}}}\0', four)
    yield "form feed behind", pack(f'{{"a":{t}}}\f', four)
    yield "a list", pack("[]")
    yield "two objects", pack("{}{}")
    yield "a comment", pack("{/**/}")
    yield "trailing comma", pack(f'{{"a":{t},}}', four)
    yield "single quotes", pack("{'a':1}")
    yield "name twice", pack(f'{{"a":{t},"a":{t}}}', four)
    yield "name twice, once escaped", pack(f'{{"a":{t},"\\u0061":{t}}}', four)
    yield "metadata twice", pack(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{t}}}', four)
    yield "metadata key twice", pack(f'{{"__metadata__":{{"k":"a","k":"b"}},"a":{t}}}', four)
    yield "dtype twice", pack('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', four)
    for value in ["null", "{}", '{"k":"v"}', '{"k":1}', '{"k":null}', '{"k":{}}', "[]", '"x"', "1", "true"]:
        yield f"metadata {value}", pack(f'{{"__metadata__":{value},"a":{t}}}', four)
    yield "metadata escaped", pack(f'{{"__meta\\u0064ata__":{{"k":"v"}},"a":{t}}}', four)
    for shape in ["[]", "[1,1,1]", "[-1]", "[-0]", "[1.0]", "[1e0]", '["1"]', "[true]", "[null]", "1", "{}", "null", "[[1]]",
                  "[2]", "[01]", "[+1]", "[1", "[18446744073709551615]", "[18446744073709551616]", "[4294967296,4294967296]"]:
        yield f"shape {shape}", pack(f'{{"a":{tensor(shape=shape)}}}', four)
    for shape in ["[0]", "[0,18446744073709551615]", "[0,18446744073709551616]", "[18446744073709551615,2,0]",
                  "[4611686018427387904,0]", "[0,1e99]"]:
        yield f"empty, shape {shape}", pack(f'{{"a":{tensor(shape=shape, offsets="[0,0]")}}}')
    for offsets in ["[0]", "[0,4,4]", "[4,0]", "[0,3]", "[0,5]", "[1,5]", "[-4,0]", "[0.0,4.0]", '["0","4"]', "4", "{}", "null",
                    "[0,18446744073709551615]", "[18446744073709551612,18446744073709551616]"]:
        yield f"offsets {offsets}", pack(f'{{"a":{tensor(offsets=offsets)}}}', four)
    for dtype in ["f32", "F31", "", "FLOAT", 1, None, True, ["F32"], {"F32": None}]:
        yield f"dtype {dtype}", pack(f'{{"a":{tensor(dtype=dtype)}}}', four)
    for dtype, bits in dict(BOOL=8, U8=8, I8=8, F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8, F8_E5M2FNUZ=8, I16=16, U16=16,
                            F16=16, BF16=16, I32=32, U32=32, F32=32, C64=64, F64=64, I64=64, U64=64, F4=4, F6_E2M3=6,
                            F6_E3M2=6).items():
        for count in (1, 4):
            size = max(1, bits * count // 8)
            yield f"{count} of {dtype}", pack(f'{{"a":{tensor(dtype, f"[{count}]", f"[0,{size}]")}}}', bytes(size))
    for dtype in ["F4", "F6_E2M3"]:
        yield f"1 of {dtype} in no byte", pack(f'{{"a":{tensor(dtype, "[1]", "[0,0]")}}}')
    for field in ["dtype", "shape", "data_offsets"]:
        whole = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        del whole[field]
        yield f"without {field}", pack(json.dumps({"a": whole}), four)
    for more in [',"x":null', ',"x":[1,{"y":2}]', ',"x":1e999', ',"x":-1e-999', ',"x":' + "[" * 125 + "]" * 125,
                 ',"x":' + "[" * 126 + "]" * 126, ',"x":"\\ud800"', ',"x":"\\q"', ',"x":"\t"', ',"x":NaN', ',"x":Infinity']:
        yield f"one field more {more[:16]}", pack(f'{{"a":{tensor(more=more)}}}', four)
    for value in ["null", "1", '"x"', "[]", "{}", '["F32",[1],[0,4]]', '["F32",[1],[0,4],1]']:
        yield f"tensor {value}", pack(f'{{"a":{value}}}', four)
    for name in ["", "\\ud83d\\ude00", "\\ud800", "\\ude00\\ud83d", "\\u0000", "\x01", "é", "__proto__", "constructor", "\\u12"]:
        yield f"name {name!r}", pack(f'{{"{name}":{t}}}', four)
    yield "name not in UTF-8", pack(b'{"\xff":' + t.encode() + b"}", four)
    yield "name an encoded surrogate", pack(b'{"\xed\xa0\x80":' + t.encode() + b"}", four)
    yield "not in order of offsets", pack(f'{{"b":{tensor(offsets="[4,8]")},"a":{t}}}', bytes(8))
    yield "overlap", pack(f'{{"b":{tensor(shape="[2]", offsets="[0,8]")},"a":{tensor(offsets="[4,8]")}}}', bytes(8))
    yield "the same bytes twice", pack(f'{{"b":{t},"a":{t}}}', four)
    yield "hole", pack(f'{{"b":{tensor(offsets="[8,12]")},"a":{t}}}', bytes(12))
    yield "hole in front", pack(f'{{"a":{tensor(offsets="[4,8]")}}}', bytes(8))
    yield "bytes behind", pack(f'{{"a":{t}}}', bytes(5))
    yield "bytes missing", pack(f'{{"a":{t}}}', bytes(3))
    yield "empty tensor in front", pack(f'{{"z":{tensor(shape="[0]", offsets="[0,0]")},"a":{t}}}', four)
    yield "empty tensor in front, named later", pack(f'{{"a":{t},"z":{tensor(shape="[0]", offsets="[0,0]")}}}', four)
    yield "empty tensor behind", pack(f'{{"0":{tensor(shape="[0]", offsets="[4,4]")},"a":{t}}}', four)
    yield "empty tensor inside", pack(f'{{"0":{tensor(shape="[0]", offsets="[2,2]")},"a":{t}}}', four)


def by_chance(rng):
    """One small change of a good file: a cut, a flipped bit, a byte of the header gone, doubled or replaced."""
    good = [
        pack(f'{{"__metadata__":{{"format":"pt"}},"a":{tensor(shape="[1,2]", offsets="[0,8]")},'
             f'"b":{tensor("BF16", "[3]", "[8,14]")}}}', bytes(range(14))),
        pack(f'{{"a":{tensor()}}}', bytes(4)),
    ]
    alphabet = b'{}[],:"0123456789-.eE \\FtnuAB\x00\xff'
    while True:
        data = bytearray(rng.choice(good))
        end = 8 + struct.unpack("<Q", data[:8])[0]
        kind = rng.choice(["cut", "flip", "flip", "remove", "double", "replace", "replace", "more"])
        at = rng.randrange(8, end)
        if kind == "cut":
            del data[rng.randrange(len(data)) :]
        elif kind == "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "remove":
            del data[at]
        elif kind == "double":
            data.insert(at, data[at])
        elif kind == "replace":
            data[at] = rng.choice(alphabet)
        else:
            data += bytes(rng.randrange(1, 9))
        if kind in ("remove", "double") and rng.random() < 0.8:  # the length made right again
            data[:8] = struct.pack("<Q", end - 8 + (1 if kind == "double" else -1))
        yield kind, bytes(data)


def safetensors_cases():
    cases, bad, seen = [], 0, set()

    def add(name, data):
        nonlocal bad
        ok = accepted(data)
        bad += not ok
        cases.append({"name": name, "file": base64.b64encode(data).decode(), "accepted": ok,
                      "forbidden": ok and forbidden_by_the_text(data)})

    for name, data in by_hand():
        add(name, data)
    for number, (name, data) in enumerate(by_chance(random.Random(1))):
        if bad >= 300:
            return cases
        if data not in seen:
            seen.add(data)
            add(f"{name} {number}", data)


def halves():
    bits = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x3555, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00,
            0x3F80, 0xC2F7, 0x7F80, 0x0080, 0x007F, 0xFFC1]
    raw = np.array(bits, dtype="<u2").tobytes()
    text = lambda values: [str(float(v)) for v in values]
    size = len(raw)
    file = pack(f'{{"b":{tensor("BF16", f"[{len(bits)}]", f"[0,{size}]")},'
                f'"h":{tensor("F16", f"[{len(bits)}]", f"[{size},{2 * size}]")}}}', raw + raw)
    return {"file": base64.b64encode(file).decode(),
            "h": text(torch.frombuffer(bytearray(raw), dtype=torch.float16).float()),
            "b": text(torch.frombuffer(bytearray(raw), dtype=torch.bfloat16).float())}


def tiny():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).float()


def permute(weights, heads):
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def peft_adapter(folder):
    names = dict(q_proj="attn_q", k_proj="attn_k", v_proj="attn_v", o_proj="attn_output", gate_proj="ffn_gate",
                 up_proj="ffn_up", down_proj="ffn_down", lm_head="output", embed_tokens="token_embd")
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, use_rslora=True, task_type="CAUSAL_LM", target_modules=list(names))
    model = get_peft_model(tiny(), config)
    generator = torch.Generator().manual_seed(1)
    expected = {}
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            continue
        with torch.no_grad():
            # few bits, so that the JSON is short
            parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator) / 16)
        values = parameter.detach().numpy()
        module = next(module for module in names if f".{module}." in name)
        if "lora_B" in name and module in ("q_proj", "k_proj"):
            heads = SHAPE["num_attention_heads" if module == "q_proj" else "num_key_value_heads"]
            values = permute(values, heads)
        layer = f"blk.{name.split('.layers.')[1].split('.')[0]}." if ".layers." in name else ""
        part = "a" if "_A." in name else "b"
        expected[f"{layer}{names[module]}.lora_{part}"] = {"shape": list(values.shape), "data": values.flatten().tolist()}
    model.peft_config["default"].base_model_name_or_path = "tiny-llama"
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    with open(os.path.join(folder, "expected.json"), "w") as out:
        json.dump({"tensors": expected}, out, separators=(",", ":"))


def check():
    golden, root = os.path.join(HERE, "peft"), os.path.join(HERE, "..", "..")
    info = dict(path="tiny", architecture="llama", layers=2, width=16, feedForward=28, heads=4, keyValueHeads=2, headWidth=6,
                vocabulary=20)
    with tempfile.TemporaryDirectory() as copy:
        script = f"""
            import {{ readAdapterFolder, writeAdapterFolder }} from "./dist/src/adapter/index.js";
            const info = {json.dumps(info)};
            const adapter = await readAdapterFolder({json.dumps(golden)}, info);
            await writeAdapterFolder({{ folder: {json.dumps(copy)}, ...adapter, info, baseModel: "tiny-llama" }});"""
        subprocess.run(["node", "--input-type=module", "-e", script], cwd=root, check=True)
        tokens = torch.arange(12).reshape(1, 12)
        with torch.no_grad():
            base = tiny()(tokens).logits
            first, second = (PeftModel.from_pretrained(tiny(), folder)(tokens).logits for folder in (golden, copy))
    assert not torch.allclose(base, first), "the adapter does nothing"
    assert torch.equal(first, second), "PEFT computes another result from our copy"
    print("PEFT loads our adapter and computes the same logits")


if "--check" in sys.argv:
    check()
else:
    for name, content in [("safetensors", safetensors_cases()), ("halves", halves())]:
        with open(os.path.join(HERE, name + ".json"), "w") as out:
            json.dump(content, out, separators=(",", ":"))
    peft_adapter(os.path.join(HERE, "peft"))
