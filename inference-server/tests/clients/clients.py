"""Real clients against a running server: each must get the scores that the native routes give.

    clients.py http://127.0.0.1:8000

The trainers' own request code is run from their packages; what those import and a reward request
does not need (torch, ray and the like) is replaced by stubs.
"""

import asyncio
import importlib.util
import logging
import math
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import requests

PROMPT = "What is the capital of Japan?"
ANSWERS = ["Tokyo is the capital of Japan.", "I do not know.", "Paris, of course!", "Tokyo"]
TEXTS = [f"{PROMPT} {answer}" for answer in ANSWERS]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def same(found, expected, tolerance=0.0):
    assert len(found) == len(expected), (found, expected)
    for a, b in zip(found, expected):
        assert abs(a - b) <= tolerance, (found, expected)


class Native:
    """What the scores are."""

    def __init__(self, url):
        self.url = url

    def of_texts(self):
        return self._batch({"texts": TEXTS})

    def of_answers(self):
        return self._batch({"texts": ANSWERS, "contexts": [PROMPT] * len(ANSWERS)})

    def _batch(self, body):
        response = requests.post(f"{self.url}/predict/batch", json=body, timeout=30)
        response.raise_for_status()
        return response.json()["reward_scores"]


def package_file(package, path):
    """A file of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / path


def stub(name, **members):
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: MagicMock(name=f"{name}.{attribute}")
    module.__path__ = []
    vars(module).update(members)
    sys.modules[name] = module


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def openrlhf(url, native):
    path = package_file("openrlhf", "utils/agent.py")
    for name in ("openrlhf", "openrlhf.utils"):
        stub(name)
    stub("openrlhf.utils.logging_utils", init_logger=logging.getLogger)
    agent = load("openrlhf.utils.agent", path)
    executor = agent.SingleTurnAgentExecutor(f"{url}/get_reward")
    many = TEXTS * 200  # more than one batch
    answers = asyncio.run(executor._fetch_rewards_via_http(many, [PROMPT] * len(many), [""] * len(many)))
    same(answers[0]["rewards"], native.of_texts() * 200)
    same(answers[0]["scores"], answers[0]["rewards"])

    async def rollouts():
        single = [executor._fetch_rewards_via_http([text], [PROMPT], [""]) for text in many[:100]]
        return [answer[0]["rewards"][0] for answer in await asyncio.gather(*single)]

    same(asyncio.run(rollouts()), native.of_texts() * 25)


def verl(url, native):
    path = package_file("verl", "experimental/reward_loop/reward_loop.py")
    for name in (
        "ray", "ray.actor", "omegaconf", "tensordict", "verl", "verl.protocol",
        "verl.single_controller", "verl.single_controller.ray", "verl.single_controller.ray.base",
        "verl.trainer", "verl.trainer.ppo", "verl.trainer.ppo.reward", "verl.utils",
        "verl.utils.fs", "verl.utils.ray_utils", "verl.experimental",
        "verl.experimental.reward_loop", "verl.experimental.reward_loop.reward_model",
    ):
        stub(name)
    module = load("verl.experimental.reward_loop.reward_loop", path)
    for engine in ("vllm", "sglang"):
        scores = []
        for text in TEXTS:
            worker = module.RewardLoopWorker.__new__(module.RewardLoopWorker)
            worker.reward_router_address = url.removeprefix("http://")
            worker.config = MagicMock()
            worker.config.reward.reward_model.rollout.name = engine
            worker.config.reward.reward_model.model_path = "any/model"

            # Rendering needs the policy's and the reward model's tokenizers; asking does not.
            async def rendered(_, text=text):
                return text

            worker._preprocess_reward_inputs = rendered
            scores.append(asyncio.run(worker.compute_score_disrm(None))["reward_score"])
        same(scores, native.of_texts())


def cohere(url, native):
    import cohere as client

    expected = [sigmoid(score) for score in native.of_answers()]
    best = sorted(range(len(expected)), key=lambda index: -expected[index])[:3]
    for make in (client.ClientV2, client.Client):
        answer = make(api_key="unused", base_url=url).rerank(
            model="any", query=PROMPT, documents=ANSWERS, top_n=3
        )
        assert [result.index for result in answer.results] == best, answer
        same([result.relevance_score for result in answer.results], [expected[i] for i in best], 1e-6)
    try:
        client.ClientV2(api_key="unused", base_url=url).rerank(model="any", query=PROMPT, documents=[])
        raise AssertionError("an empty list was taken")
    except client.UnprocessableEntityError as error:
        assert "at least one" in str(error.body), error.body


def haystack(url, native):
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    ranker = VLLMRanker(model="any", api_base_url=url, api_key=Secret.from_token("unused"), top_k=2)
    answer = ranker.run(query=PROMPT, documents=[Document(content=text) for text in ANSWERS])
    expected = sorted((sigmoid(score) for score in native.of_answers()), reverse=True)[:2]
    same([document.score for document in answer["documents"]], expected, 1e-6)
    assert answer["meta"]["usage"]["total_tokens"] > 0, answer["meta"]


def llama_index(url, native):
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ANSWERS]
    ranked = TextEmbeddingInference(base_url=url, top_n=4).postprocess_nodes(nodes, query_str=PROMPT)
    expected = dict(zip(ANSWERS, (sigmoid(score) for score in native.of_answers())))
    same([node.score for node in ranked], [expected[node.node.text] for node in ranked], 1e-6)
    same([node.score for node in ranked], sorted(expected.values(), reverse=True), 1e-6)


def main(url):
    native = Native(url)
    failed = 0
    clients = [cohere, haystack, llama_index, openrlhf, verl]
    for client in clients:
        try:
            client(url, native)
            print(f"{client.__name__}: passed")
        except ModuleNotFoundError as missing:
            failed += 1
            print(f"{client.__name__}: cannot be had here ({missing})")
        except Exception as error:  # one client's failure must not hide another's
            failed += 1
            print(f"{client.__name__}: FAILED {type(error).__name__}: {error}")
    print(f"{len(clients) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: clients.py URL")
    sys.exit(main(sys.argv[1].rstrip("/")))
