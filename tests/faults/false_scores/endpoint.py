"""A scripted endpoint with a fault of its own for each benchmark that asks it.

All benchmarks of a run share one endpoint, and each test wants some of them to fail and others
not. A benchmark says who it is by its system message (`extra.system_instruction` of lm-eval).
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from rig.endpoint import Fault, ScriptedEndpoint


class EndpointByTask(ScriptedEndpoint):
    """Faults, voices and counters by system message.

    faults: what goes wrong for a benchmark.
    voices: what gives a benchmark its answers, instead of `answer`; it may block.
    asked, answered: requests and answers per prompt, for each benchmark.
    """

    def __init__(self, faults: dict[str, Fault] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.faults = dict(faults or {})
        self.voices: dict[str, Callable[[str], str]] = {}
        self.asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.answered: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._current = threading.local()

    def begin(self, prompts: list[str], body: dict[str, Any]) -> Fault | None:
        task = system_message(body)
        self._current.task = task
        super().begin(prompts, body)
        with self._changed:
            asked = self.asked[task]
            asked.update(prompts)
            number = 1 + list(asked).index(prompts[0])
            fault = self.faults.get(task)
            return fault if fault and fault.hits(number, asked[prompts[0]]) else None

    def text_for(self, prompt: str) -> str:
        voice = self.voices.get(self._current.task)
        return voice(prompt) if voice else super().text_for(prompt)

    def give(self, prompts: list[str], send: Callable[[], None]) -> None:
        def send_and_count() -> None:
            send()
            self.answered[self._current.task].update(prompts)

        super().give(prompts, send_and_count)


def system_message(body: dict[str, Any]) -> str:
    """The system message of a request; "" without one."""
    texts = [m["content"] for m in body.get("messages", []) if m.get("role") == "system"]
    return str(texts[0]) if texts else ""
