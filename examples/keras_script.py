"""A Keras script with only its import lines replaced."""

from gputensor.keras.datasets import mnist
from gputensor.keras.layers import Dense
from gputensor.keras.losses import categorical_crossentropy
from gputensor.keras.metrics import accuracy  # noqa: F401 - as the script imports it
from gputensor.keras.models import Sequential
from gputensor.keras.optimizers import Adam

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = x_train / 255
x_test = x_test / 255

model = Sequential()
model.add(Dense(512, activation="relu", input_shape=(784,)))
model.add(Dense(10, activation="softmax"))
model.compile(optimizer=Adam(lr=0.001), loss=categorical_crossentropy, metrics=["accuracy"])
model.fit(x_train, y_train, epochs=10, batch_size=256)
print(model.predict(x_test)[:3].argmax(axis=1), y_test[:3])
