"""Stateless mediapipe graphs: face mesh in a given region, face detector in a given region, person mask.

mediapipe's own Python solutions hide a detector and a tracker behind the face mesh: the answer for a frame
depends on the frames before it, and a face their short-range detector misses is never meshed. The wheel can
run any graph made of its calculators, so this module runs three small ones in which nothing is remembered:
the region comes from the caller, the answer depends on the picture and the region alone. One set of graphs
serves a whole process.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...geom.errors import HeadwarpError, MissingDependencyError
from ._picture import Picture

MESH_INPUT = 192
_MESH_OVERSAMPLING = 1.4
_MOST_ENLARGED = 16

_CALLING_THREAD = """
executor { name: "" type: "ApplicationThreadExecutor" }
"""  # no threads of its own: handing a frame over to them costs a fifth of the mesh's time

_INFERENCE = """
node { calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:op_resolver"
  node_options: { [type.googleapis.com/mediapipe.TfLiteCustomOpResolverCalculatorOptions] {
    use_gpu: false } } }
node { calculator: "InferenceCalculator" input_stream: "TENSORS:input_tensors"
  output_stream: "TENSORS:output_tensors"
  input_side_packet: "MODEL:model" input_side_packet: "OP_RESOLVER:op_resolver"
  options { [mediapipe.InferenceCalculatorOptions.ext] { delegate { xnnpack { num_threads: 1 } } } } }
"""

_MESH_GRAPH = (
    """
input_stream: "image"
input_stream: "roi"
output_stream: "landmarks"
output_stream: "score"
node { calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:0:with_attention"
  node_options: { [type.googleapis.com/mediapipe.ConstantSidePacketCalculatorOptions] {
    packet { bool_value: true } } } }
node { calculator: "FaceLandmarksModelLoader" input_side_packet: "WITH_ATTENTION:with_attention"
  output_side_packet: "MODEL:model" }
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" input_stream: "NORM_RECT:roi"
  output_stream: "TENSORS:input_tensors"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] { output_tensor_width: 192 output_tensor_height:
  192
    output_tensor_float_range { min: 0.0 max: 1.0 } } } }
node { calculator: "SplitTensorVectorCalculator" input_stream: "output_tensors"
  output_stream: "landmark_tensors" output_stream: "score_tensor"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] { ranges { begin: 0 end: 6 } ranges { begin: 6 end:
  7 } } } }
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:score_tensor"
  output_stream: "FLOAT:score"
  options { [mediapipe.TensorsToFloatsCalculatorOptions.ext] { activation: SIGMOID } } }
node { calculator: "TensorsToFaceLandmarksWithAttention" input_stream: "TENSORS:landmark_tensors"
  output_stream: "LANDMARKS:landmarks" }
"""
    + _INFERENCE
)

_DETECTOR_GRAPH = """
input_stream: "image"
input_stream: "roi"
output_stream: "detections"
node {{ calculator: "{subgraph}" input_stream: "IMAGE:image" input_stream: "ROI:roi"
  output_stream: "DETECTIONS:detections"
  node_options: {{ [type.googleapis.com/mediapipe.FaceDetectionOptions] {{
    min_score_thresh: {threshold} delegate {{ xnnpack {{ num_threads: 1 }} }} }} }} }}
"""

_MASK_GRAPH = """
input_stream: "image"
output_stream: "mask"
node { calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:0:model_selection"
  node_options: { [type.googleapis.com/mediapipe.ConstantSidePacketCalculatorOptions] {
    packet { int_value: 0 } } } }
node { calculator: "SelfieSegmentationCpu" input_stream: "IMAGE:image" output_stream: "SEGMENTATION_MASK:mask"
  input_side_packet: "MODEL_SELECTION:model_selection" }
"""

_OPTION_MODULES = (  # protobuf drops options whose module was never imported, without a word
    "calculators.core.constant_side_packet_calculator_pb2",
    "calculators.core.split_vector_calculator_pb2",
    "calculators.tensor.image_to_tensor_calculator_pb2",
    "calculators.tensor.inference_calculator_pb2",
    "calculators.tensor.tensors_to_floats_calculator_pb2",
    "calculators.tensor.tensors_to_segmentation_calculator_pb2",
    "calculators.tflite.tflite_custom_op_resolver_calculator_pb2",
    "calculators.util.local_file_contents_calculator_pb2",
    "framework.tool.switch_container_pb2",
    "modules.face_detection.face_detection_pb2",
)
_NATIVE_NOISE = re.compile(
    rb"XNNPACK delegate|absl::InitializeLog|inference_feedback_manager|gl_context|face_landmarks_connections"
    rb"|mkdir -p failed for path|Matplotlib created a temporary"  # it needs no cache: nothing is plotted
)


@dataclass(frozen=True)
class Roi:
    """A square region of a picture, in pixels: centre, side, clockwise angle in radians of its upright."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def bounds(self) -> tuple[float, float, float, float]:
        """Return the upright box (x0, y0, x1, y1) round the turned square."""
        half = 0.5 * self.side * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class FaceBox:
    """The face detector's answer: `box` (4,) xyxy px, `score`, `keypoints` (6, 2) px, right eye first."""

    box: np.ndarray
    score: float
    keypoints: np.ndarray


@contextlib.contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Hold back what native code writes on descriptor 2; pass on all but mediapipe's start-up chatter."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # no stderr at all (a window program): nothing to silence
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if not _NATIVE_NOISE.search(line):
                    os.write(2, line)


def _mends(error: ImportError, python: tuple[int, int]) -> str:
    """What to do about mediapipe's import error; a library of the system's is not had from pip."""
    if isinstance(error, ModuleNotFoundError) and python < (3, 13):  # it has no wheel beyond
        return "pip install 'mediapipe==0.10.21'"
    return "`headwarp doctor` says what mends it"


def lacking(what: str, error: BaseException | None) -> str:
    """What needs mediapipe, why it cannot be had, and what to do about it."""
    mends = _mends(error, sys.version_info[:2]) if isinstance(error, ImportError) else ""
    return f"{what} needs mediapipe 0.10.21 ({error}); {mends}"


@functools.cache
def load_mediapipe() -> SimpleNamespace:
    """Import mediapipe and the parts used here.

    Raises:
        MissingDependencyError: mediapipe is absent, or is a release whose wheel carries no models.
    """
    try:
        with quiet_native_stderr():
            package = importlib.import_module("mediapipe")
            for name in _OPTION_MODULES:
                importlib.import_module(f"mediapipe.{name}")
            parts = SimpleNamespace(
                package=package,
                create=importlib.import_module("mediapipe.python.packet_creator"),
                get=importlib.import_module("mediapipe.python.packet_getter"),
                rect=importlib.import_module("mediapipe.framework.formats.rect_pb2"),
                opencv=importlib.import_module("cv2"),  # a dependency of mediapipe's own
                resources=importlib.import_module("mediapipe.python._framework_bindings").resource_util,
            )
    except ImportError as error:
        text = f"{lacking('the mediapipe landmark detector', error)}, or pass landmarks as a .npy file"
        raise MissingDependencyError(text) from error
    parts.resources.set_resource_dir(os.path.dirname(os.path.dirname(os.path.abspath(str(package.__file__)))))
    return parts


class Graph:
    """A running mediapipe graph called like a function; safe to call from several threads, one at a time.

    Args:
        config: the graph in protobuf text form; input streams `image` and, if `with_roi`, `roi`.
        outputs: for each output stream, how its packet becomes a Python value.
        with_roi: whether the graph reads a region.
    """

    def __init__(
        self, config: str, outputs: dict[str, Callable[[Any], Any]], *, with_roi: bool = True
    ) -> None:
        self._mediapipe = load_mediapipe()
        self._lock = threading.Lock()
        self._timestamp = 0
        self._with_roi = with_roi
        self._answer: dict[str, Any] = {}
        with quiet_native_stderr():
            self._graph = self._mediapipe.package.CalculatorGraph(graph_config=config + _CALLING_THREAD)
            for name, getter in outputs.items():
                self._graph.observe_output_stream(name, functools.partial(self._store, getter))
            self._graph.start_run()
            self(
                np.zeros((64, 64, 3), np.uint8), Roi(32, 32, 64)
            )  # the rest of the chatter comes with the first frame

    def _store(self, getter: Callable[[Any], Any], name: str, packet: Any) -> None:
        self._answer[name] = getter(packet)

    def __call__(self, image: np.ndarray, roi: Roi | None = None) -> dict[str, Any]:
        """Run one picture (H, W, 3) uint8 C-contiguous; return the outputs that came, by stream name."""
        parts = self._mediapipe
        height, width = image.shape[:2]
        frame = parts.create.create_image_frame(image_format=parts.package.ImageFormat.SRGB, data=image)
        with self._lock:
            self._answer = {}
            self._timestamp += 1
            self._graph.add_packet_to_input_stream("image", frame.at(self._timestamp))
            if self._with_roi and roi is not None:
                rect = parts.rect.NormalizedRect(
                    x_center=roi.x / width,
                    y_center=roi.y / height,
                    width=roi.side / width,
                    height=roi.side / height,
                    rotation=roi.angle,
                )
                self._graph.add_packet_to_input_stream(
                    "roi", parts.create.create_proto(rect).at(self._timestamp)
                )
            self._graph.wait_until_idle()
            return self._answer


def crop_to_roi(image: Picture, roi: Roi, *, resolution: float) -> tuple[np.ndarray, Roi, np.ndarray, float]:
    """Copy the part of a picture that a region touches, averaged down where it is far finer than needed.

    A region is sampled bilinearly by the graph, without a low-pass filter: a 600 px face sampled to 192
    would alias and its landmarks would flicker, so whole blocks of pixels are averaged first.

    Args:
        image: (H, W, 3) uint8.
        roi: region in the picture's pixels.
        resolution: samples across the region that are enough.

    Returns:
        The copy, the region in its pixels, the offset (2,) of the copy's corner and the pixels of the
        picture per pixel of the copy.
    """
    height, width = image.shape[:2]
    block = max(1, int(roi.side / resolution))
    x0, y0, x1, y1 = roi.bounds()
    margin = 2 * block
    left, top = max(0, math.floor(x0) - margin), max(0, math.floor(y0) - margin)
    right, bottom = min(width, math.ceil(x1) + margin), min(height, math.ceil(y1) + margin)
    if (
        right - left < block or bottom - top < block
    ):  # the region lies outside the picture, or the picture is a sliver
        left, top, right, bottom, block = 0, 0, width, height, 1
    crop = image[top:bottom, left:right]
    if block > 1:
        crop = block_mean(crop, block)
    local = Roi((roi.x - left) / block, (roi.y - top) / block, roi.side / block, roi.angle)
    return np.ascontiguousarray(crop), local, np.array([left, top], np.float64), float(block)


def enlarged(crop: np.ndarray, roi: Roi, *, resolution: float) -> tuple[np.ndarray, Roi]:
    """Enlarge by a whole factor, with cubic splines, where a region has few pixels for what reads it.

    The graph interpolates linearly. On the private test photos scaled to faces of 25 px the landmarks are
    then off by 3.0 % of the face, and by 1.4 % with this (median; 48 px: 1.3 and 0.6 %).

    Args:
        crop: (H, W, 3) uint8.
        roi: region in its pixels.
        resolution: samples across the region that are wanted; up to 1.5 times as few are left as they are.
    """
    if roi.side * 1.5 > resolution:
        return crop, roi
    factor = min(math.ceil(resolution / roi.side), _MOST_ENLARGED)
    cv2 = load_mediapipe().opencv
    size = (crop.shape[1] * factor, crop.shape[0] * factor)
    larger = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
    return larger, Roi(roi.x * factor, roi.y * factor, roi.side * factor, roi.angle)


def block_mean(image: np.ndarray, block: int) -> np.ndarray:
    """Average (H, W, 3) uint8 over `block` x `block` blocks; incomplete ones at the right and foot go."""
    rows, columns = image.shape[0] // block, image.shape[1] // block
    image = image[: rows * block, : columns * block]
    tall: Any = image[::block].astype(np.uint16 if block <= 16 else np.uint32)  # 16 * 16 * 255 still fits
    for y in range(1, block):  # rows first: whole lines in memory order
        tall += image[y::block]
    line = tall.reshape(rows, -1)
    wide = line.copy()
    for x in range(1, block):  # neighbours are added over whole lines too; picking one in `block` comes last
        wide[:, : -3 * x] += line[:, 3 * x :]
    total = wide.reshape(rows, -1, 3)[:, ::block].copy()
    total += block * block // 2
    total //= block * block
    return total.astype(np.uint8)


def turn(points: np.ndarray, angle: float) -> np.ndarray:
    """Turn (N, 2) points clockwise in the picture (y down) about the origin."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


# a landmark of x, y, z and no more, as protobuf writes it in a list: key and length, then key and number
_POINT = np.dtype([("key", "u1"), ("length", "u1"), ("axes", [("key", "u1"), ("value", "<f4")], 3)])


def landmark_points(message: Any) -> np.ndarray:
    """The points of a (Normalized)LandmarkList message as (L, 3) float64.

    Read from its wire form at once: asking a message for three fields a point costs a tenth of the mesh.
    """
    data = np.frombuffer(message.SerializeToString(), np.uint8)
    if len(data) == len(message.landmark) * _POINT.itemsize:
        rows = data.view(_POINT)
        if (rows["length"] == 15).all() and (rows["axes"]["key"] == (0x0D, 0x15, 0x1D)).all():
            return rows["axes"]["value"].astype(np.float64)
    return np.array([(p.x, p.y, p.z) for p in message.landmark], np.float64).reshape(-1, 3)


class Engine:
    """The graphs of one process. Nothing that one call leaves behind can be seen by the next."""

    @functools.cached_property
    def _mesh(self) -> Graph:
        get = load_mediapipe().get
        return Graph(_MESH_GRAPH, {"landmarks": get.get_proto, "score": get.get_float})

    @functools.cached_property
    def _full_range(self) -> Graph:
        return self._detector("FaceDetectionFullRange", 0.5)

    @functools.cached_property
    def _short_range(self) -> Graph:
        return self._detector("FaceDetectionShortRange", 0.5)

    @functools.cached_property
    def _person(self) -> Graph:
        get = load_mediapipe().get
        return Graph(
            _MASK_GRAPH, {"mask": lambda p: get.get_image_frame(p).numpy_view().copy()}, with_roi=False
        )

    @staticmethod
    def _detector(subgraph: str, threshold: float) -> Graph:
        config = _DETECTOR_GRAPH.format(subgraph=subgraph, threshold=threshold)
        return Graph(config, {"detections": load_mediapipe().get.get_proto_list})

    def mesh(self, image: Picture, roi: Roi, *, smooth: bool = True) -> tuple[np.ndarray, float]:
        """Run the attention face mesh on a region: 478 landmarks (478, 3) float32 px of `image`, presence
        in [0, 1].

        With `smooth=False` regions much larger or smaller than the network's input are sampled as mediapipe
        samples them.
        """
        resolution = MESH_INPUT * _MESH_OVERSAMPLING if smooth else math.inf
        crop, local, _, _ = crop_to_roi(image, roi, resolution=resolution)
        if smooth:
            crop, local = enlarged(crop, local, resolution=MESH_INPUT)
        answer = self._mesh(crop, local)
        points = landmark_points(answer["landmarks"])
        points[:, :2] = turn(points[:, :2] - 0.5, roi.angle)
        points *= roi.side
        points[:, :2] += (roi.x, roi.y)
        return points.astype(np.float32), float(answer["score"])

    def boxes(self, image: Picture, roi: Roi, *, short_range: bool = False) -> list[FaceBox]:
        """Run the full-range (or short-range) detector on a region; boxes in px of `image`, best first."""
        crop, local, offset, block = crop_to_roi(image, roi, resolution=2.0 * MESH_INPUT)
        answer = (self._short_range if short_range else self._full_range)(crop, local)
        size = np.array([crop.shape[1], crop.shape[0]], np.float64)
        found = []
        for detection in answer.get("detections", []):
            place = detection.location_data
            rect = place.relative_bounding_box
            corner = np.array([rect.xmin, rect.ymin]) * size * block + offset
            extent = np.array([rect.width, rect.height]) * size * block
            keypoints = np.array([(k.x, k.y) for k in place.relative_keypoints]) * size * block + offset
            found.append(
                FaceBox(np.concatenate([corner, corner + extent]), float(detection.score[0]), keypoints)
            )
        return sorted(found, key=lambda box: -box.score)

    def person(self, image: np.ndarray) -> np.ndarray:
        """Run the person mask: (H, W) float32 in [0, 1] at the size of `image`."""
        return self._person(np.ascontiguousarray(image))["mask"]


@functools.cache
def _engine_and_owner() -> tuple[Engine, int]:
    return Engine(), os.getpid()


def engine() -> Engine:
    """Return this process's graphs, started on first use.

    Raises:
        HeadwarpError: the process was forked from one that had started them; their threads are not here.
    """
    graphs, owner = _engine_and_owner()
    if owner != os.getpid():
        raise HeadwarpError(
            "mediapipe was in use when this process was forked, and would wait for ever here; "
            "start worker processes with multiprocessing's 'spawn' method"
        )
    return graphs
