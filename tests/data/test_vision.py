"""Datasets of images over small local files. What is expected of them, the reference gave for the same files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile

import cv2
import numpy as np
import pytest

from tengen.base.errors import SerializationError
from tengen.data import DataLoader, SequentialSampler
from tengen.data.dataset import (
    CIFAR10,
    CIFAR100,
    COCO,
    MNIST,
    Cityscapes,
    ImageFolder,
    ImageNet,
    Objects365,
    PascalVOC,
    VisionDataset,
)


def write(path, value=0, shape=(8, 10, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros(shape, np.uint8)
    image[..., 0] = value
    image[..., -1] = value + 1 if shape[2] == 3 else value
    assert cv2.imwrite(str(path), image)


# -- folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("cat", "ant", "dog")):
        for j in range(2):
            write(tmp_path / "images" / name / f"{j}.png", 10 * i + j)
    write(tmp_path / "images" / "cat" / "sub" / "9.png", 99)
    (tmp_path / "images" / "cat" / "x.txt").write_text("x")
    return tmp_path / "images"


def test_image_folder(folder):
    dataset = ImageFolder(str(folder))
    assert dataset.class_dict == {"ant": 0, "cat": 1, "dog": 2}
    names = [(path[len(str(folder)) + 1 :], int(label)) for path, label in dataset.samples]
    assert names == [
        ("ant/0.png", 0), ("ant/1.png", 0), ("cat/0.png", 1), ("cat/1.png", 1), ("cat/sub/9.png", 1), ("dog/0.png", 2), ("dog/1.png", 2),
    ]  # fmt: skip
    image, label = dataset[0]
    assert (image.shape, image.dtype, image[0, 0].tolist()) == ((8, 10, 3), np.uint8, [10, 0, 11])
    assert (label, type(label)) == (0, np.int32)
    batch, labels = next(iter(DataLoader(dataset, SequentialSampler(dataset, 3), num_workers=2)))
    assert batch.shape == (3, 8, 10, 3)
    assert (labels.tolist(), labels.dtype) == ([0, 0, 1], np.int32)


def test_image_folder_options(folder, tmp_path):
    assert ImageFolder(str(folder), class_name=True)[0][1] == "ant"
    assert len(ImageFolder(str(folder), check_valid_func=lambda path: path.endswith("1.png"))) == 3
    with pytest.raises(FileNotFoundError):
        ImageFolder(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no folders"):
        ImageFolder(str(folder / "ant"))
    (folder / "ant" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0\.png is not an image"):
        ImageFolder(str(folder))[0]


def packed(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path.read_bytes()


def test_imagenet_unpacks_its_archive_once(tmp_path, monkeypatch):
    picture = cv2.imencode(".png", np.full((4, 4, 3), 7, np.uint8))[1].tobytes()
    inner = {f"{name}.tar": packed(tmp_path / "inner", {f"{name}_1.png": picture}) for name in ("n02", "n01")}
    archive = tmp_path / "ILSVRC2012_img_train.tar"
    packed(archive, inner)
    with pytest.raises(ValueError, match="damaged"):
        ImageNet(str(tmp_path))
    sums = {"train": (archive.name, hashlib.md5(archive.read_bytes()).hexdigest())}
    monkeypatch.setattr(ImageNet, "raw_file_meta", {**ImageNet.raw_file_meta, **sums})
    dataset = ImageNet(str(tmp_path))
    assert dataset.class_dict == {"n01": 0, "n02": 1}
    assert dataset[1][0].tolist() == np.full((4, 4, 3), 7).tolist()
    archive.unlink()
    assert len(ImageNet(str(tmp_path), train=True)) == 2
    with pytest.raises(FileNotFoundError, match=r"img_val\.tar"):
        ImageNet(str(tmp_path), train=False)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ImageNet(str(tmp_path / "none"))


# -- boxes and masks -------------------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path):
    for number in (1, 2, 3):
        write(tmp_path / "images" / f"{number}.png", number)
    images = [{"id": n, "file_name": f"{n}.png", "height": 8, "width": 10} for n in (3, 1, 2)]
    boxes = [
        (3, 18, [1, 2, 3, 4], 0, [1, 2, 2]),
        (3, 1, [0, 0, 0, 0], 0, [0, 0, 0]),
        (1, 90, [1, 1, 5, 5], 1, [0, 0, 0]),
    ]
    annotations = [
        {"id": i, "image_id": image, "category_id": kind, "bbox": box, "iscrowd": crowd, "keypoints": 17 * point}
        for i, (image, kind, box, crowd, point) in enumerate(boxes)
    ]
    categories = [{"id": n, "name": name} for n, name in ((1, "person"), (90, "toothbrush"), (18, "dog"))]
    (tmp_path / "boxes.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return str(tmp_path / "images"), str(tmp_path / "boxes.json")


@pytest.mark.parametrize("kind", [COCO, Objects365])
def test_boxes(coco, kind):
    dataset = kind(*coco, order=("image", "boxes", "boxes_category", "info"))
    assert dataset.ids == [1, 2, 3]
    samples = [dataset[i] for i in range(len(dataset))]
    assert [image[0, 0].tolist() for image, *_ in samples] == [[1, 0, 2], [2, 0, 3], [3, 0, 4]]
    assert [boxes.tolist() for _, boxes, *_ in samples] == [[[1, 1, 6, 6]], [], [[1, 2, 4, 6], [0, 0, 0, 0]]]
    assert [boxes.shape for _, boxes, *_ in samples] == [(1, 4), (0, 4), (2, 4)]
    assert [kinds.tolist() for *_, kinds, _ in samples] == [[3], [], [2, 1]]
    assert {(boxes.dtype.name, kinds.dtype.name) for _, boxes, kinds, _ in samples} == {("float32", "int32")}
    assert samples[0][3] == [8, 10, "1.png"]
    assert kind(*coco, True).ids == [3]
    with pytest.raises(NotImplementedError, match="foo is unsupported"):
        kind(*coco, order=("foo",))


def test_keypoints(coco):
    dataset = COCO(*coco, order=("keypoints",))
    assert [dataset[i][0].shape for i in range(3)] == [(1, 17, 3), (0, 17, 3), (2, 17, 3)]
    assert dataset[2][0][0, 3].tolist() == [1, 2, 2]
    assert (len(COCO.class_names), COCO.classes_originID["toothbrush"], COCO.keypoint_names[0]) == (80, 90, "nose")
    assert (len(Objects365.class_names), Objects365.class_names[1]) == (365, "sneakers")


VOC_XML = """<annotation><filename>a.jpg</filename>
  <object><name>dog</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>7</ymax></bndbox></object>
  <object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def voc(tmp_path):
    write(tmp_path / "JPEGImages" / "a.jpg", 3)
    write(tmp_path / "SegmentationClass" / "a.png", 0, (8, 10, 1))
    mask = np.zeros((8, 10, 3), np.uint8)
    mask[0, 0], mask[1, 1], mask[2, 2] = (0, 0, 128), (192, 224, 224), (128, 64, 0)
    cv2.imwrite(str(tmp_path / "SegmentationClass" / "a.png"), mask)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(VOC_XML)
    for kind in ("Main", "Segmentation"):
        (tmp_path / "ImageSets" / kind).mkdir(parents=True)
        (tmp_path / "ImageSets" / kind / "train.txt").write_text("a\n")
    return str(tmp_path)


def test_pascal_voc(voc):
    image, boxes, kinds, info = PascalVOC(voc, "train", order=("image", "boxes", "boxes_category", "info"))[0]
    assert (image.shape, info) == ((8, 10, 3), [8, 10, "a"])
    assert (boxes.tolist(), boxes.dtype) == ([[2, 3, 5, 7], [1, 1, 4, 4]], np.float32)
    assert (kinds.tolist(), kinds.dtype) == ([12, 8], np.int32)
    (mask,) = PascalVOC(voc, "train", order=("mask",))[0]
    assert (mask.shape, mask.dtype) == ((8, 10, 1), np.uint8)
    assert (mask[0, 0, 0], mask[1, 1, 0], mask[2, 2, 0], mask.sum()) == (1, 255, 20, 276)
    assert len(PascalVOC(voc, "train")) == 1
    with pytest.raises(ValueError, match="not both"):
        PascalVOC(voc, "train", order=("boxes", "mask"))
    assert PascalVOC.class_colors[:4] == [[0, 0, 0], [0, 0, 128], [0, 128, 0], [0, 128, 128]]
    assert PascalVOC.class_colors[20] == [128, 64, 0]


def test_cityscapes(tmp_path):
    stem = "aachen/aachen_000000_000019"
    write(tmp_path / "leftImg8bit" / "train" / f"{stem}_leftImg8bit.png", 3)
    place = tmp_path / "gtFine" / "train"
    numbers = np.arange(80, dtype=np.uint8).reshape(8, 10)
    write(place / f"{stem}_gtFine_labelIds.png")
    cv2.imwrite(str(place / f"{stem}_gtFine_labelIds.png"), numbers)
    image, mask, info = Cityscapes(str(tmp_path), "train", "gtFine", order=("image", "mask", "info"))[0]
    assert (image[0, 0].tolist(), info[:2]) == ([3, 0, 4], [8, 10])
    counted = {n: int(m) for n, m in zip(numbers.ravel().tolist(), mask.ravel(), strict=True) if m != 255}
    assert counted == {n: i for i, n in enumerate([7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33])}
    for image_set, mode in (("foo", "gtFine"), ("train", "foo"), ("test", "gtCoarse")):
        with pytest.raises(ValueError, match="should be one of"):
            Cityscapes(str(tmp_path), image_set, mode)


# -- CIFAR and MNIST -------------------------------------------------------------------------------------------


def cifar(folder, labels):
    """Files as Python 2 has written them: texts are bytes."""
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    batch = {b"data": pixels, b"batch_label": b"x", b"filenames": [b"a.png", b"b.png"], **labels}
    for name in [*CIFAR10.train_batch, *CIFAR10.test_batch, "train", "test"]:
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    for name in ("batches.meta", "meta"):
        (folder / name).write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))


def test_cifar(tmp_path):
    cifar(tmp_path / "cifar-10-batches-py", {b"labels": [3, 7]})
    cifar(tmp_path / "cifar-100-python", {b"fine_labels": [3, 7], b"coarse_labels": [1, 2]})
    dataset = CIFAR10(str(tmp_path), download=False)
    assert (len(dataset), len(CIFAR10(str(tmp_path), train=False, download=False))) == (10, 2)
    image, label = dataset[0]
    assert (image.shape, image.dtype, label, type(label)) == ((32, 32, 3), np.uint8, 3, np.int32)
    assert image[0, 1].tolist() == [2049 % 256, 1025 % 256, 1]  # blue, green, red
    assert dataset.meta == {b"label_names": [b"cat", b"dog"]}
    assert [int(n) for n in CIFAR100(str(tmp_path), download=False)[1][1:]] == [7, 2]


def test_cifar_refuses(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        CIFAR10(str(tmp_path / "none"), download=False)
    with pytest.raises(ValueError, match="please set download=True"):
        CIFAR10(str(tmp_path), download=False)
    cifar(tmp_path / "cifar-10-batches-py", {b"labels": [3, 7]})

    class Evil:
        def __reduce__(self):
            return eval, ("1/0",)

    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(SerializationError, match=r"data_batch_3.*eval"):
        CIFAR10(str(tmp_path), download=False)


def test_downloads_are_checked(tmp_path, monkeypatch):
    source = tmp_path / "server"
    cifar(source / "cifar-10-batches-py", {b"labels": [3, 7]})
    with tarfile.open(source / CIFAR10.raw_file_name, "w:gz") as archive:
        archive.add(source / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "url_path", source.as_uri() + "/")
    with pytest.raises(ValueError, match="MD5 sum"):
        CIFAR10(str(tmp_path / "root"))
    monkeypatch.setattr(CIFAR10, "raw_file_md5", hashlib.md5((source / CIFAR10.raw_file_name).read_bytes()).hexdigest())
    assert len(CIFAR10(str(tmp_path / "root"))) == 10


@pytest.fixture
def mnist(tmp_path):
    for name in MNIST.raw_file_name:
        head, body = (struct.pack(">iiii", 2051, 2, 28, 28), bytes(range(256)) * 6 + bytes(32))
        if "labels" in name:
            head, body = struct.pack(">ii", 2049, 2), bytes([5, 9])
        (tmp_path / name).write_bytes(gzip.compress(head + body))
    return tmp_path


def test_mnist(mnist):
    dataset = MNIST(str(mnist), download=False)
    image, label = dataset[0]
    assert (len(dataset), image.shape, image.dtype) == (2, (28, 28, 1), np.uint8)
    assert (image.ravel()[:4].tolist(), label, type(label)) == ([0, 1, 2, 3], 5, np.int32)
    assert dataset.meta == {
        "images": {"magic": 2051, "imgs": 2, "height": 28, "width": 28},
        "labels": {"magic": 2049, "imgs": 2},
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b""), gzip.compress(struct.pack(">iiii", 2051, 2, 28, 28))],
    ids=["empty", "no gzip", "nothing", "a head alone"],  # compressed bytes hold the time
)
def test_damaged_mnist(mnist, data):
    (mnist / MNIST.raw_file_name[0]).write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        MNIST(str(mnist), download=False)


def test_root_and_order():
    class Own(VisionDataset):
        def __getitem__(self, index):
            return index

        def __len__(self):
            return 1

    assert Own("~", order=("image", "foo"), supported_order=("image", "foo")).order == ("image", "foo")
    assert Own(None).order == ("image",)
