"""MNIST with stock Keras, as one writes it: load, scale, fit, save.

`python keras_script.py mnist.npz 10` takes a file like Keras's own mnist.npz and the number of epochs.
"""

import sys

import keras
import numpy as np

path, epochs = sys.argv[1], int(sys.argv[2])
with np.load(path) as mnist:
    x_train, y_train = mnist["x_train"].astype("float32") / 255, mnist["y_train"]
    x_test, y_test = mnist["x_test"].astype("float32") / 255, mnist["y_test"]

model = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
# A line an epoch instead of the progress bar, which is in favour of the script.
model.fit(x_train, y_train, batch_size=32, epochs=epochs, validation_data=(x_test, y_test), verbose=2)
model.save("x.keras")
