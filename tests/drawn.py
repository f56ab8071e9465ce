"""What stands on a picture: its texts, and the ticks of a timeline."""

import itertools


def visible_tick_labels(ax):
    """Labels of the ticks that are in view."""
    return [
        label
        for axis in (ax.xaxis, ax.yaxis)
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels())
        if min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    ]


def overlapping_texts(ax):
    """Pairs of visible tick labels, headings and axis labels that overlap."""
    figure = ax.figure
    figure.canvas.draw()
    texts = [*visible_tick_labels(ax), ax.xaxis.label, ax.yaxis.label]
    texts += [ax.title, *ax.texts]
    shown = [t for t in texts if t.get_text() and t.get_visible()]
    # Rotated labels overlap in their upright boxes without touching.
    shown = [t for t in shown if t.get_rotation() % 90 == 0]
    boxes = [t.get_window_extent().shrunk(0.98, 0.9) for t in shown]
    return [
        (shown[i].get_text(), shown[j].get_text())
        for i, j in itertools.combinations(range(len(shown)), 2)
        if boxes[i].overlaps(boxes[j])
    ]


def ticks_by_row(ax):
    """Steps that have a tick, row by row from below."""
    return [
        {round(segment[0][0]) for segment in collection.get_segments()}
        for collection in ax.collections
    ]
