"""Models ready to predict: ONNX Runtime sessions, and a bounded cache of them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt
import onnxruntime

Float32 = npt.NDArray[np.float32]

onnxruntime.disable_telemetry_events()  # nothing leaves this machine, and nothing is written to HOME

CHUNK = 256  # examples at once: bounds the memory for activations and costs no speed


class Predictor:
    """One ONNX model on the CPU, warm from the start; thread-safe.

    `size` is the model's bytes, `width` the number of outputs for an example.
    """

    def __init__(self, onnx: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # one small network: more threads only wait for each other
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.input_name: str = self._session.get_inputs()[0].name
        self.output_name: str = self._session.get_outputs()[0].name
        self.width: int = self._session.get_outputs()[0].shape[-1]
        self.size = len(onnx)
        # The first run takes the memory that the others find.
        self._run(np.zeros((1, *self._session.get_inputs()[0].shape[1:]), np.float32))

    def predict(self, images: Float32) -> Float32:
        """The model's outputs (n, k) for images (n, 28, 28, 1), 0 to 255, or for whatever its input shape is."""
        chunks = [self._run(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def _run(self, images: Float32) -> Float32:
        outputs: Float32 = self._session.run([self.output_name], {self.input_name: images})[0]
        return outputs


class SessionCache:
    """Predictors by key, the least recently used dropped when their models' bytes exceed `max_bytes`; thread-safe.

    The newest one stays even when it is larger than the bound by itself.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._ready: OrderedDict[Hashable, Predictor] = OrderedDict()
        self._loading: dict[Hashable, Future[Predictor]] = {}

    def get(self, key: Hashable, load: Callable[[], bytes]) -> Predictor:
        """The predictor of `key`, made from what `load` returns when it is not here.

        Callers who ask for the same key at the same time share one load, and its exception, which is not remembered.
        """
        with self._lock:
            if (predictor := self._touched(key)) is not None:
                return predictor
            shared = self._loading.get(key)
            mine = Future[Predictor]()
            if shared is None:
                self._loading[key] = mine
        if shared is not None:
            return shared.result()
        try:
            predictor = Predictor(load())
        except BaseException as error:
            self._finish(key, mine, None)
            mine.set_exception(error)
            raise
        self._finish(key, mine, predictor)
        mine.set_result(predictor)
        return predictor

    def ready(self, key: Hashable) -> Predictor | None:
        """The predictor of `key` if it is here."""
        with self._lock:
            return self._touched(key)

    def drop(self, key: Hashable) -> None:
        """Forget `key`; what is being loaded for it at this moment is given to those who wait, but not kept."""
        with self._lock:
            self._ready.pop(key, None)
            self._loading.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._ready

    def __len__(self) -> int:
        with self._lock:
            return len(self._ready)

    def _touched(self, key: Hashable) -> Predictor | None:
        if (predictor := self._ready.get(key)) is not None:
            self._ready.move_to_end(key)
        return predictor

    def _finish(self, key: Hashable, mine: Future[Predictor], predictor: Predictor | None) -> None:
        with self._lock:
            if self._loading.get(key) is not mine:  # dropped in the meantime
                return
            del self._loading[key]
            if predictor is None:
                return
            self._ready[key] = predictor
            while len(self._ready) > 1 and sum(each.size for each in self._ready.values()) > self._max_bytes:
                self._ready.popitem(last=False)
