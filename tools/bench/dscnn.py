"""An int8 keyword spotter of the size of MLPerf Tiny's (DS-CNN, 12 classes), for ai-edge-litert. Needs TensorFlow.

    python dscnn.py OUT.tflite

The layers of the benchmark's reference (49 x 10 MFCC; a 10 x 4 convolution of stride 2, four separable ones of 64
channels, pooling, a linear layer), with random weights: what it hears is of no interest here, and what it costs does
not depend on it.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers


def network() -> Any:
    """The Keras model."""

    def finish(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(x))

    features = layers.Input((49, 10, 1), batch_size=1)
    x = finish(layers.Conv2D(64, (10, 4), strides=2, padding="same")(features))
    for _ in range(4):
        x = finish(layers.DepthwiseConv2D(3, padding="same")(x))
        x = finish(layers.Conv2D(64, 1)(x))
    x = layers.Flatten()(layers.AveragePooling2D((25, 5))(x))
    return tf.keras.Model(features, layers.Dense(12, activation="softmax")(x))


def main(path: str) -> None:
    """Writes the quantised model."""
    tf.random.set_seed(1)
    random = np.random.default_rng(1)
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [random.normal(size=(1, 49, 10, 1)).astype(np.float32)] for _ in range(50)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(path).write_bytes(converter.convert())


if __name__ == "__main__":
    main(sys.argv[1])
