"""What people would use instead of this server, for tests/speed.

    peers.py serve PORT MODEL                the server that one writes first: FastAPI around torch
    peers.py offline ENGINE DTYPE MODEL      a library without a server: torch or onnxruntime

Offline, each line of the input is a text as a JSON string, and each line of the output its score; the first line
says that the model is there. Both compute one text at a time, with the library's own choice of threads.
"""
import json
import os
import sys

# The models are in folders; nothing is to be asked for.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402


def tokenizer(model):
    return AutoTokenizer.from_pretrained(model)


def torch_model(model, dtype):
    """The model in torch's own formats; int8 rounds the weights of its linear layers, and activations as they come."""
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    loaded = AutoModelForSequenceClassification.from_pretrained(model, dtype=kind).eval()
    if dtype == "int8":
        from torch.ao.quantization import quantize_dynamic

        loaded = quantize_dynamic(loaded, {torch.nn.Linear}, dtype=torch.qint8)
    return loaded


def torch_scorer(model, dtype):
    tokens, loaded = tokenizer(model), torch_model(model, dtype)

    def score(text):
        encoded = tokens(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.inference_mode():
            logits = loaded(**encoded).logits
        return float(logits[0, 0]), encoded["input_ids"].shape[1]

    return score


def export(model, path):
    """Writes the model as ONNX, for texts of any length, one at a time."""

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModelForSequenceClassification.from_pretrained(
                model, dtype=torch.float32, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.ones((1, 16), dtype=torch.long)
    length = torch.export.Dim("length", min=2, max=512)
    torch.onnx.export(
        Logits(), (ids, torch.ones_like(ids)), path, dynamo=True, dynamic_shapes=({1: length}, {1: length}),
        input_names=["input_ids", "attention_mask"], output_names=["logits"])


def onnx_file(model, dtype):
    """The model as ONNX, kept beside the checkpoint."""
    folder = os.path.join(model, "onnx")
    whole, rounded = os.path.join(folder, "f32.onnx"), os.path.join(folder, "int8.onnx")
    if not os.path.exists(whole):
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(folder, "part.onnx")
        export(model, part)
        # The weights lie in a file of their own, which the graph names: both are moved by loading and saving.
        import onnx

        onnx.save_model(onnx.load(part), whole, save_as_external_data=False)
    if dtype == "int8" and not os.path.exists(rounded):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(whole, rounded + ".part", weight_type=QuantType.QInt8)
        os.rename(rounded + ".part", rounded)
    return rounded if dtype == "int8" else whole


def onnx_scorer(model, dtype):
    import onnxruntime

    if dtype == "bf16":
        sys.exit("its provider for CPUs has no bf16")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_file(model, dtype), options, providers=["CPUExecutionProvider"])
    tokens = tokenizer(model)

    def score(text):
        encoded = tokens(text, truncation=True, max_length=512, return_tensors="np")
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        return float(session.run(["logits"], inputs)[0][0, 0]), encoded["input_ids"].shape[1]

    return score


def serve(port, model):
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Text(BaseModel):
        text: str

    app, score = FastAPI(), torch_scorer(model, "f32")

    @app.get("/health/ready")
    def ready():
        return {}

    @app.post("/predict")
    def predict(body: Text):
        found, tokens = score(body.text)
        return {"score": found, "tokens": tokens}

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


def offline(engine, dtype, model):
    score = {"torch": torch_scorer, "onnxruntime": onnx_scorer}[engine](model, dtype)
    # What a library prints while it loads must not be taken for a score: this is the first line of ours.
    print("ready", flush=True)
    for line in sys.stdin:
        found, tokens = score(json.loads(line))
        print(json.dumps({"score": found, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    {"serve": serve, "offline": offline}[sys.argv[1]](*sys.argv[2:])
