#!/usr/bin/env python3
"""Makes the models and reference scores of tests/fixtures/parity-extra.

Small random models of what tests/fixtures/parity lacks, scored by transformers on the CPU in f32, one
text at a time; and templates.jsonl, chats as transformers renders them. Everything is seeded: the same versions of the packages below give the same files.

    python -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3
    VENV/bin/python inference-server/models/tests/make_references.py [NAME...]

Weights and configs are the same bits on any machine; scores differ in their last digits by CPU, so that
a new model is made by its name, beside the others.

A model is a function below that returns a module, its config and what is particular about it. Token
ids come from tokenizer.json as it stands.
"""

import json
import shutil
import sys
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn

HERE = Path(__file__).parent / "fixtures"
OUT = HERE / "parity-extra"
LIMIT = 64
VOCABULARY = 600

TEXTS = [
    "",
    " ",
    "hello",
    "Hello, World!",
    "naïve café — 东京 🚀",
    "\n\n\ttabs and\r\nnewlines  double  spaces",
    "The capital of Japan is Tokyo. Let me know if you would like more detail.",
    "For hummus you need chickpeas, tahini, lemon juice and garlic. " * 6,
]
PAIRS = [
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("What is 33 times 34?", ""),
    ("How do I make hummus? " * 5, "You need chickpeas, tahini and garlic. " * 5),
]
CHATS = [
    [("user", "What is 2+2?"), ("assistant", "  4\n")],
    [("user", "hi"), ("assistant", "hello"), ("user", "Who?"), ("assistant", "Me.")],
    [("user", "How do I make hummus? " * 8), ("assistant", "With chickpeas. " * 3)],
]


def trimmed(source):
    """tokenizer.json of a fixture, with its first tokens only."""
    tokenizer = json.loads((HERE / "parity" / source / "tokenizer.json").read_text())
    model = tokenizer["model"]
    if model["type"] == "BPE":
        vocabulary = {token: i for token, i in model["vocab"].items() if i < VOCABULARY}
        pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        model["merges"] = [list(p) for p in pairs if "".join(p) in vocabulary]
        model["vocab"] = vocabulary
    return tokenizer


def fill(module, seed, centre):
    """Numbers far enough from zero that scores differ; `centre` is where norms lie."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        values = torch.randn(parameter.shape, generator=generator)
        norm = ("norm" in name.lower() or "ln_" in name) and name.endswith("weight")
        if norm:
            values = centre + 0.1 * values
        else:
            values = values * (0.1 if parameter.dim() == 1 else 0.2)
        parameter.data.copy_(values)


class Spec:
    """What is particular about a model, beside its weights."""

    def __init__(self, architecture, tokenizer, **rest):
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.segments = rest.get("segments", False)
        self.rename = rest.get("rename", lambda name: name)
        self.config = rest.get("config", lambda config: config)
        self.special = rest.get("special", {})
        self.template = rest.get("template")
        self.texts = rest.get("texts", [])
        self.dtype = rest.get("dtype", torch.float32)
        self.centre = rest.get("centre", 1.0)
        self.logits = rest.get("logits", lambda module, inputs: module(**inputs).logits[0])


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
DECODER = {**SMALL, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "num_labels": 1}
BERT_TOKENS = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}
LLAMA_TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|eot_id|>"}
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
)
QWEN_TOKENS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% generation %}{{ m['content'] }}{% endgeneration %}<|im_end|>\n{% endfor %}"
)


def mlp(hidden, inner, labels):
    return nn.Sequential(nn.Linear(hidden, inner), nn.ReLU(), nn.Linear(inner, labels))


def legacy(config):
    """The form of transformers 4."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype")
    rope = dict(config.pop("rope_parameters", None) or {})
    config.pop("layer_types", None)
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.get("rope_type", "default")
        config["rope_scaling"] = None if kind == "default" else {**rope, "type": kind}
    return config


def electra():
    config = transformers.ElectraConfig(
        **SMALL, vocab_size=1272, embedding_size=16, max_position_embeddings=128, num_labels=1
    )
    module = transformers.ElectraForSequenceClassification(config)
    return module, Spec(
        "ElectraForSequenceClassification", "bert", special=BERT_TOKENS, segments=True, config=legacy
    )


def bert_labels():
    """Several labels, names only in id2label, no prefix, gamma and beta."""
    names = ["helpfulness", "correctness", "verbosity"]
    config = transformers.BertConfig(
        **SMALL, vocab_size=1272, max_position_embeddings=128, id2label=dict(enumerate(names))
    )

    def rename(name):
        name = name.removeprefix("bert.")
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    def old(config):
        config = legacy(config)
        config.pop("num_labels", None)
        return config

    return transformers.BertForSequenceClassification(config), Spec(
        "BertForSequenceClassification",
        "bert",
        special=BERT_TOKENS,
        segments=True,
        rename=rename,
        config=old,
    )


def roberta_labels():
    """Two labels; padding tokens within a text have no position of their own."""
    config = transformers.RobertaConfig(
        **SMALL, vocab_size=VOCABULARY, max_position_embeddings=130, type_vocab_size=1, num_labels=2
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return transformers.RobertaForSequenceClassification(config), Spec(
        "RobertaForSequenceClassification",
        "roberta",
        special=special,
        texts=["one<pad><pad>two", "<pad>"],
    )


def deberta_unshared():
    """Projections of their own for positions, no buckets, absolute positions, a small embedding."""
    config = transformers.DebertaV2Config(
        **SMALL,
        vocab_size=1398,
        embedding_size=24,
        max_position_embeddings=128,
        max_relative_positions=40,
        relative_attention=True,
        share_att_key=False,
        pos_att_type="c2p|p2c",
        position_biased_input=True,
        type_vocab_size=2,
        norm_rel_ebd="none",
        num_labels=1,
    )

    def old(config):
        config = legacy(config)
        config["pos_att_type"] = "c2p|p2c"
        return config

    return transformers.DebertaV2ForSequenceClassification(config), Spec(
        "DebertaV2ForSequenceClassification", "deberta-v2", special=BERT_TOKENS, segments=True, config=old
    )


def modernbert_cls():
    """The first token is pooled; the config's old form; biases everywhere."""
    config = transformers.ModernBertConfig(
        **SMALL,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        classifier_pooling="cls",
        attention_bias=True,
        mlp_bias=True,
        norm_bias=True,
        classifier_bias=True,
        local_attention=16,
        global_attn_every_n_layers=2,
        pad_token_id=3,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        num_labels=1,
    )

    def old(config):
        config = dict(config)
        config["torch_dtype"] = config.pop("dtype")
        rope = config.pop("rope_parameters")
        config.pop("layer_types")
        config["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
        return config

    return transformers.ModernBertForSequenceClassification(config), Spec(
        "ModernBertForSequenceClassification", "modernbert", special=BERT_TOKENS, config=old
    )


def mistral_window():
    """A window that is shorter than the texts."""
    config = transformers.MistralConfig(
        **DECODER, max_position_embeddings=128, sliding_window=8, pad_token_id=2, eos_token_id=2
    )
    return transformers.MistralForSequenceClassification(config), Spec(
        "MistralForSequenceClassification",
        "llama",
        special=LLAMA_TOKENS,
        template=LLAMA_TEMPLATE,
        config=legacy,
    )


def llama_bf16():
    """A bf16 checkpoint, linear scaling, biases, and a padding token that is the end of a turn."""
    config = transformers.LlamaConfig(
        **DECODER,
        max_position_embeddings=128,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
        pad_token_id=2,
        eos_token_id=2,
    )
    return transformers.LlamaForSequenceClassification(config), Spec(
        "LlamaForSequenceClassification",
        "llama",
        special=LLAMA_TOKENS,
        template=LLAMA_TEMPLATE,
        config=legacy,
        dtype=torch.bfloat16,
        texts=["an answer<|eot_id|>", "an answer<|eot_id|><|eot_id|>", "<|eot_id|>"],
    )


def qwen3_f16():
    """An f16 checkpoint, several labels, no prefix."""
    config = transformers.Qwen3Config(
        **{**DECODER, "num_labels": 4}, head_dim=12, max_position_embeddings=128, pad_token_id=0
    )
    return transformers.Qwen3ForSequenceClassification(config), Spec(
        "Qwen3ForSequenceClassification",
        "qwen3",
        special=QWEN_TOKENS,
        template=QWEN_TEMPLATE,
        dtype=torch.float16,
        rename=lambda name: name.removeprefix("model."),
    )


def gpt_neox_sequential():
    """No parallel residual, the old names of the rotary fields, no padding token."""
    config = transformers.GPTNeoXConfig(
        **SMALL,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        hidden_act="gelu_new",
        use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.5},
        num_labels=1,
    )

    def old(config):
        config = dict(config)
        config["torch_dtype"] = config.pop("dtype")
        rope = config.pop("rope_parameters")
        config["rotary_emb_base"] = rope["rope_theta"]
        config["rotary_pct"] = rope["partial_rotary_factor"]
        config["pad_token_id"] = None
        return config

    return transformers.GPTNeoXForSequenceClassification(config), Spec(
        "GPTNeoXForSequenceClassification", "gpt-neox", special={"eos_token": "<|endoftext|>"}, config=old
    )


def inform():
    """INF-ORM: Llama with two linear layers as head."""
    config = transformers.LlamaConfig(**DECODER, max_position_embeddings=128, pad_token_id=5)
    module = transformers.LlamaForSequenceClassification(config)
    module.score = mlp(32, 32, 1)
    return module, Spec(
        "INFORMForSequenceClassification",
        "llama",
        special={**LLAMA_TOKENS, "pad_token": "[PAD]"},
        template=LLAMA_TEMPLATE,
        config=legacy,
    )


def qwen2_reward():
    """Qwen2.5-RM: Qwen2 with two linear layers as head; layers from the second on have a window."""
    config = transformers.Qwen2Config(
        **DECODER,
        max_position_embeddings=128,
        pad_token_id=0,
        use_sliding_window=True,
        sliding_window=8,
        max_window_layers=1,
    )
    module = transformers.Qwen2ForSequenceClassification(config)
    module.score = mlp(32, 24, 1)

    def old(config):
        config = legacy(config)
        config.pop("id2label", None)
        config.pop("label2id", None)
        return config

    return module, Spec(
        "Qwen2ForRewardModel", "qwen2", special=QWEN_TOKENS, template=QWEN_TEMPLATE, config=old
    )


class Grm(nn.Module):
    """GRM: a backbone with a value head of its own, which takes the last token."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = transformers.AutoModel.from_config(config)
        self.v_head = nn.Module()
        self.v_head.summary = mlp(32, 20, 1)

    def forward(self, **inputs):
        return self.v_head.summary(self.model(**inputs).last_hidden_state[:, -1])


def grm():
    """GRM on Gemma 2, whose padding token must not move what is pooled."""
    config = transformers.Gemma2Config(
        **{**DECODER, "vocab_size": 1399},
        head_dim=8,
        query_pre_attn_scalar=10,
        attn_logit_softcapping=5.0,
        sliding_window=8,
        max_position_embeddings=128,
    )
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return Grm(config), Spec(
        "GRewardModel",
        "gemma2",
        special=special,
        template=(HERE / "parity/gemma2/chat_template.jinja").read_text(),
        config=legacy,
        centre=0.0,
        texts=["an answer<pad>"],
        logits=lambda module, inputs: module(**inputs)[0],
    )


class OpenRlhf(nn.Module):
    """OpenRLHF's reward model: a backbone, a head without bias, the last token of the attention mask."""

    def __init__(self, config, prefix, mean, std):
        super().__init__()
        self.config, self.prefix = config, prefix
        self.normalisation = (mean, std)
        self.model = transformers.AutoModel.from_config(config)
        setattr(self, prefix, nn.Linear(config.hidden_size, 1, bias=False))

    def forward(self, attention_mask, **inputs):
        x = self.model(attention_mask=attention_mask, **inputs).last_hidden_state
        values = getattr(self, self.prefix)(x).squeeze(-1)
        last = attention_mask.size(1) - 1 - attention_mask.long().fliplr().argmax(dim=1, keepdim=True)
        mean, std = self.normalisation
        return (values.gather(dim=1, index=last) - mean) / std


def openrlhf():
    """Rewards that are normalised, the older name of the head, and padding tokens that count."""
    config = transformers.LlamaConfig(**DECODER, max_position_embeddings=128, pad_token_id=2, eos_token_id=2)

    def old(config):
        config = legacy(config)
        config.pop("id2label", None)
        config.pop("label2id", None)
        return {**config, "normalize_reward": True, "mean": 0.75, "std": 1.5}

    return OpenRlhf(config, "value_head", 0.75, 1.5), Spec(
        "RewardModel",
        "llama",
        special=LLAMA_TOKENS,
        template=LLAMA_TEMPLATE,
        config=old,
        texts=["an answer<|eot_id|>", "<|eot_id|>"],
        logits=lambda module, inputs: module(**inputs)[0],
    )


def openrlhf_score():
    """The name of the head in the config, whose mean and std are not used; another backbone."""
    config = transformers.Qwen2Config(**DECODER, max_position_embeddings=128, pad_token_id=0)

    def new(config):
        extra = {"value_head_prefix": "score", "normalize_reward": False, "mean": 0.75, "std": 1.5}
        return {**config, **extra}

    return OpenRlhf(config, "score", 0.0, 1.0), Spec(
        "RewardModel",
        "qwen2",
        special=QWEN_TOKENS,
        template=QWEN_TEMPLATE,
        config=new,
        logits=lambda module, inputs: module(**inputs)[0],
    )


def last_token(family, tokenizer, special, template, **rest):
    """Token classification with one label, read at the last token, as verl reads a reward model."""

    def make():
        config = getattr(transformers, f"{family}Config")(
            **DECODER, max_position_embeddings=128, pad_token_id=2, **rest
        )
        module = getattr(transformers, f"{family}ForTokenClassification")(config)
        return module, Spec(
            f"{family}ForTokenClassification",
            tokenizer,
            special=special,
            template=template,
            texts=[f"an answer{special['pad_token']}"],
            logits=lambda module, inputs: module(**inputs).logits[0, -1],
        )

    return make


GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
NEOX_TOKENS = {"eos_token": "<|endoftext|>"}


def gemma_spec(architecture, config):
    template = (HERE / "parity/gemma2/chat_template.jinja").read_text()
    return Spec(
        architecture,
        "gemma2",
        special=GEMMA_TOKENS,
        template=template,
        config=config,
        centre=0.0,
        texts=["an answer<pad>"],
    )


def gemma():
    """The first Gemma, whose files say gelu and mean its approximation."""
    config = transformers.GemmaConfig(
        **{**DECODER, "vocab_size": 1399}, head_dim=12, max_position_embeddings=128
    )
    module = transformers.GemmaForSequenceClassification(config)

    def first(config):
        return {**legacy(config), "hidden_act": "gelu"}

    return module, gemma_spec("GemmaForSequenceClassification", first)


def gemma3(old):
    """Two rotary positions, of which one is scaled; norms of heads; in the old form and in the new."""

    def make():
        config = transformers.Gemma3TextConfig(
            **{**DECODER, "vocab_size": 1399, "num_hidden_layers": 3},
            head_dim=12,
            query_pre_attn_scalar=10,
            sliding_window=8,
            sliding_window_pattern=3,
            max_position_embeddings=128,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        )

        def as_saved(config):
            if not old:
                return config
            config = dict(config)
            config["torch_dtype"] = config.pop("dtype")
            config.pop("layer_types")
            config.pop("rope_parameters")
            config["sliding_window_pattern"] = 3
            config["rope_theta"], config["rope_local_base_freq"] = 50000.0, 500.0
            config["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
            return config

        module = transformers.Gemma3TextForSequenceClassification(config)
        return module, gemma_spec("Gemma3TextForSequenceClassification", as_saved)

    return make


def olmo2():
    """Norms behind attention and feed-forward, and of all heads together."""
    config = transformers.Olmo2Config(**DECODER, max_position_embeddings=128, pad_token_id=1)
    return transformers.Olmo2ForSequenceClassification(config), Spec(
        "Olmo2ForSequenceClassification", "gpt-neox", special=NEOX_TOKENS
    )


def phi3():
    """Fused matrices, a window, half of each head turned, and other frequencies in long texts."""
    config = transformers.Phi3Config(
        **DECODER,
        max_position_embeddings=128,
        original_max_position_embeddings=16,
        sliding_window=24,
        pad_token_id=2,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "short_factor": [1.0, 1.2],
            "long_factor": [1.5, 6.0],
        },
    )

    def first(config):
        config = legacy(config)
        config["partial_rotary_factor"] = config["rope_scaling"].pop("partial_rotary_factor")
        config["rope_scaling"] = {**config["rope_scaling"], "type": "su"}
        for name in ["rope_type", "original_max_position_embeddings"]:
            config["rope_scaling"].pop(name, None)
        return config

    return transformers.Phi3ForSequenceClassification(config), Spec(
        "Phi3ForSequenceClassification",
        "llama",
        special=LLAMA_TOKENS,
        template=LLAMA_TEMPLATE,
        config=first,
    )


def gpt2():
    """Learned positions, matrices as columns, scores that shrink from layer to layer; no padding token."""
    config = transformers.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=VOCABULARY,
        n_positions=128,
        num_labels=1,
        scale_attn_by_inverse_layer_idx=True,
    )
    return transformers.GPT2ForSequenceClassification(config), Spec(
        "GPT2ForSequenceClassification", "gpt-neox", special=NEOX_TOKENS
    )


def scaled(rope, form=lambda config: config):
    """Llama with scaled rotary positions."""

    def make():
        config = transformers.LlamaConfig(
            **DECODER,
            head_dim=16,
            max_position_embeddings=128,
            pad_token_id=2,
            rope_parameters={"rope_theta": 10000.0, **rope},
        )
        return transformers.LlamaForSequenceClassification(config), Spec(
            "LlamaForSequenceClassification",
            "llama",
            special=LLAMA_TOKENS,
            template=LLAMA_TEMPLATE,
            config=form,
        )

    return make


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
YARN_SAID = {
    **YARN,
    "truncate": False,
    "beta_fast": 8.0,
    "beta_slow": 0.5,
    "mscale": 0.7,
    "mscale_all_dim": 1.3,
}


MODELS = {
    "electra": electra,
    "bert-labels": bert_labels,
    "roberta-labels": roberta_labels,
    "deberta-unshared": deberta_unshared,
    "modernbert-cls": modernbert_cls,
    "mistral-window": mistral_window,
    "llama-bf16": llama_bf16,
    "qwen3-f16": qwen3_f16,
    "gpt-neox-sequential": gpt_neox_sequential,
    "inform": inform,
    "qwen2-reward": qwen2_reward,
    "grm": grm,
    "openrlhf": openrlhf,
    "openrlhf-score": openrlhf_score,
    "gemma": gemma,
    "gemma3": gemma3(old=False),
    "gemma3-old": gemma3(old=True),
    "olmo2": olmo2,
    "phi3": phi3,
    "gpt2": gpt2,
    "llama-yarn": scaled(YARN, legacy),
    "llama-yarn-said": scaled(YARN_SAID),
    "llama-dynamic": scaled({"rope_type": "dynamic", "factor": 2.0}),
    "llama-tokens": last_token("Llama", "llama", LLAMA_TOKENS, LLAMA_TEMPLATE),
    "mistral-tokens": last_token("Mistral", "llama", LLAMA_TOKENS, LLAMA_TEMPLATE),
    "qwen2-tokens": last_token("Qwen2", "qwen2", QWEN_TOKENS, QWEN_TEMPLATE),
    "qwen3-tokens": last_token("Qwen3", "qwen3", QWEN_TOKENS, QWEN_TEMPLATE, head_dim=12),
}


def write_model(folder, module, spec):
    tensors = {
        spec.rename(name): value.to(spec.dtype).contiguous()
        for name, value in module.state_dict().items()
        if "position_ids" not in name
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = module.config.to_dict()
    config["dtype"] = str(spec.dtype).removeprefix("torch.")
    config = spec.config(config)
    config["architectures"] = [spec.architecture]
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_tokenizer(folder, spec):
    tokenizer = trimmed(spec.tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    config = {**spec.special, "model_max_length": 128}
    names = ["input_ids", "attention_mask"]
    config["model_input_names"] = names + ["token_type_ids"] if spec.segments else names
    if spec.template:
        config["chat_template"] = [
            {"name": "tool_use", "template": "{{ raise_exception('not this one') }}"},
            {"name": "default", "template": spec.template},
        ]
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def chat_ids(tokenizer, spec, messages):
    """Rendered as transformers renders it; what is too long loses its beginning but for the BOS."""
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **spec.special)
    text = fast.apply_chat_template(messages, chat_template=spec.template, tokenize=False)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) <= LIMIT:
        return ids
    bos = tokenizer.token_to_id(spec.special.get("bos_token", ""))
    return [bos] + ids[1 - LIMIT :] if ids[0] == bos else ids[-LIMIT:]


def write_references(folder, module, spec):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.no_truncation()
    tokenizer.enable_truncation(LIMIT)
    lines = []

    def add(line, ids, type_ids):
        if not ids:
            return
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if spec.segments:
            inputs["token_type_ids"] = torch.tensor([type_ids])
        with torch.no_grad():
            logits = spec.logits(module, inputs).tolist()
        lines.append({**line, "scores": logits, "tokens": len(ids)})

    for text in TEXTS + spec.texts:
        encoding = tokenizer.encode(text)
        add({"text": text}, encoding.ids, encoding.type_ids)
    for first, second in PAIRS:
        encoding = tokenizer.encode(first, second)
        add({"text": first, "text_pair": second}, encoding.ids, encoding.type_ids)
    for chat in CHATS if spec.template else []:
        messages = [{"role": role, "content": content} for role, content in chat]
        add({"messages": messages}, chat_ids(whole, spec, messages), [])
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "expected.jsonl").write_text(text)
    (folder / "LIMITS.json").write_text(json.dumps({"max_tokens_used_for_reference": LIMIT}) + "\n")
    scores = torch.tensor([line["scores"] for line in lines])
    print(f"{folder.name}: {len(lines)} lines, scores {scores.min():.3f} to {scores.max():.3f}")


# Each uses something that templates of published models use.
TEMPLATES = [
    # Slices, loop variables, inline conditions, filters.
    "{% for m in messages[1:] %}{{ loop.index0 }}/{{ loop.length }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for m in messages[::-1] %}{{ m['role'] | upper }}{{ '|' if loop.first else ';' }}{% endfor %}",
    "{{ messages | map(attribute='role') | join(',') }} {{ messages | length }} {{ messages[-1].content | trim | length }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='content') | first }}",
    # Namespaces, which outlive loops, and sets, which do not.
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}",
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}",
    # Methods of Python.
    "{% for m in messages %}{% set c = m.content.split('</think>')[-1].lstrip('\\n').strip() %}[{{ c }}]{% endfor %}",
    "{% for m in messages %}{{ m.content.startswith('What') }}{{ m.content.replace('a', 'A').capitalize() }}{{ m.get('name', '?') }};{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }} {% endfor %}",
    # Tests.
    "{% if tools is none and documents is none and foo is not defined and messages is iterable and messages[0].content is string and messages[0] is mapping %}yes{% endif %}",
    "{% if tools %}tools{% elif add_generation_prompt %}prompt{% else %}neither{% endif %}{{ 'a' in ['a', 'b'] }}{{ 'x' not in 'abc' }}",
    # White space.
    "\n{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- '<u>' + m.content + '</u>\\n' }}\n    {%- else %}\n        {{- '<a>' ~ m.content }}\n    {%- endif %}\n{%- endfor %}\n",
    "{% for m in messages %}\n  {{ m.role }}:\n  {% if loop.last %}\n  end\n  {% endif %}\n\n{% endfor %}\n\n",
    "  {# a comment #}\n{% for m in messages -%}\n  {{ m.role }}\n{%+ if true %}x{% endif %}\n{% endfor +%}\n",
    "{% raw %}{{ raw }}{% endraw %} {{ '{{' }}",
    # Macros, arithmetic, JSON.
    "{% macro turn(m, end='\\n') %}<{{ m.role }}>{{ m.content }}{{ end }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{{ turn(m, end='.') }}{% endfor %}",
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ loop.index0 // 2 }}{% endfor %}",
    "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=4) }}",
    "{{ {'name': 'f', 'parameters': {'x': [1, 2.0, true, none]}} | tojson }}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% generation -%}\n  x\n{%- endgeneration %}{% endfor %}",
    "{{ bos_token + messages[0]['content'] + eos_token }}{{ undefined_name }}",
]
RENDERED = [
    [("user", "What is 2+2?"), ("assistant", "  4 é😀\n")],
    [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", 'c "q" <x>'), ("assistant", "d")],
    [("assistant", "first")],
]


def write_templates():
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(HERE / "parity/llama/tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    lines = []
    for template in TEMPLATES:
        for chat in RENDERED:
            messages = [{"role": role, "content": content} for role, content in chat]
            line = {"template": template, "messages": messages}
            try:
                line["rendered"] = fast.apply_chat_template(messages, chat_template=template, tokenize=False)
            except Exception as error:  # whatever the template raises
                line["error"] = str(error)
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (HERE / "templates.jsonl").write_text("".join(lines))


def main(names):
    torch.set_num_threads(1)
    if not names:
        write_templates()
        shutil.rmtree(OUT, ignore_errors=True)
    for name in names or MODELS:
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        module, spec = MODELS[name]()
        module.eval()
        module.config._attn_implementation = "eager"
        fill(module, zlib.crc32(name.encode()), spec.centre)
        # The reference is that of the numbers in the checkpoint, computed in f32. Buffers, such as
        # the rotary frequencies, are not in it and are not rounded.
        for parameter in module.parameters():
            parameter.data = parameter.data.to(spec.dtype).to(torch.float32)
        write_model(folder, module, spec)
        write_tokenizer(folder, spec)
        write_references(folder, module, spec)


if __name__ == "__main__":
    main(sys.argv[1:])
