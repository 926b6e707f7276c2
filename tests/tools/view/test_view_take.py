"""What a camera saw, kept as heads: bounded, and at an even rate."""

import numpy as np
import pytest
from posed_fits import posed_fit
from toy_head import toy_head

from headwarp.flame.params import Pose
from headwarp.tools.drivers import Driver, open_driver
from headwarp.tools.view.document import Document, Source
from headwarp.tools.view.files import Results
from headwarp.tools.view.filming import Take
from headwarp.tools.view.saving import save_motion


def seen(take, moments):
    """A head turned by as many degrees as seconds have passed."""
    head = toy_head()
    for moment in moments:
        take.add(posed_fit(head, [0.0, float(moment)]), moment)
    return take


def turns(fit):
    return np.degrees(np.linalg.norm(fit.params.rotation.numpy(), axis=1)).round(2).tolist()


def test_heads_come_at_an_even_rate_after_the_person_at_first():
    driver = seen(Take(), [10.0, 10.1, 10.2, 10.5, 10.6, 10.8, 11.0]).driver()
    assert driver.fps == 6
    assert driver.fit.report["fps"] == "6"
    assert turns(driver.fit) == pytest.approx([0, 10, 10.2, 10.2, 10.5, 10.6, 10.8, 11], abs=0.02)


def test_no_more_than_the_last_seconds_are_kept():
    take = seen(Take(longest=2.0), np.arange(0, 9, 0.25))
    assert take.seconds == pytest.approx(2.0)
    assert len(take._heads) == 9
    assert turns(take.driver().fit) == pytest.approx([0, *np.arange(6.75, 9, 0.25)], abs=0.02)


def test_one_head_is_no_film():
    assert Take().driver() is None
    take = seen(Take(), [1.0])
    assert (take.seconds, take.driver()) == (0.0, None)


def test_a_driver_is_saved_as_what_animate_reads(tmp_path):
    results, document = Results(tmp_path), Document(source=Source(tmp_path / "me.png", "me.png"))
    taken = seen(Take(), [1.0, 1.1, 1.2]).driver()
    file = save_motion(results, document, taken)
    again = open_driver(file, toy_head())
    assert (file.name, again.fps, again.timed) == ("me_001.npz", 10, True)
    assert turns(again.fit) == turns(taken.fit)
    track = save_motion(results, document, Driver(None, (Pose(yaw=3.0), Pose(jaw=0.5)), None, 25))
    assert track.name == "me_001.csv"
    assert open_driver(track, toy_head()).poses == (Pose(yaw=3.0), Pose(jaw=0.5))
