"""Routers to compare with: each learns from some questions and ranks others by expected gain."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.entrypoints.bench.router_questions import STRONG, WEAK, Floats, Questions

NEIGHBOURS = 60
Rows = NDArray[np.intp]
Peer = Callable[[Questions, Rows, Rows], Floats]


def by_chance(questions: Questions, _: Rows, asked: Rows) -> Floats:
    """Rank at random, always the same."""
    return np.random.default_rng(len(questions)).random(len(asked))


def by_length(questions: Questions, known: Rows, asked: Rows) -> Floats:
    """Predict both models' scores from the length of the text alone."""
    from sklearn.linear_model import LogisticRegression

    sizes = np.log([len(text) for text in questions.texts])
    powers = np.stack([sizes, sizes**2, sizes**3], axis=1)
    inputs = (powers - powers[known].mean(axis=0)) / powers[known].std(axis=0)
    predicted = [
        LogisticRegression().fit(inputs[known], right[known]).predict_proba(inputs[asked])[:, 1]
        for right in questions.right.T
    ]
    gain: Floats = predicted[STRONG] - predicted[WEAK]
    return gain


def by_neighbours(questions: Questions, known: Rows, asked: Rows) -> Floats:
    """Take the mean gain of the most similar questions, by the cosine of their TF-IDF vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import KNeighborsRegressor

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    near = vectorizer.fit_transform([questions.texts[row] for row in known])
    model = KNeighborsRegressor(NEIGHBOURS, metric="cosine", algorithm="brute")
    model.fit(near, questions.gain[known])
    gain: Floats = model.predict(vectorizer.transform([questions.texts[row] for row in asked]))
    return gain


def by_topic(questions: Questions, known: Rows, asked: Rows) -> Floats:
    """Take the mean gain of the topic, which the data set tells and no real query does."""
    topics = np.array(questions.topics, dtype=object)
    gain = questions.gain
    means = {topic: gain[known][topics[known] == topic].mean() for topic in set(topics[known])}
    return np.array([means.get(topic, gain[known].mean()) for topic in topics[asked]])


def by_outcome(questions: Questions, _: Rows, asked: Rows) -> Floats:
    """Know the outcomes: the bound."""
    return questions.gain[asked]


PEERS: dict[str, Peer] = {
    "random": by_chance,
    "length only": by_length,
    "kNN on TF-IDF": by_neighbours,
    "known topic": by_topic,
    "oracle": by_outcome,
}
