"""The editor's threads by themselves: tasks in order, time that runs, tabs that come and go."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from headwarp.tools.view.document import Document
from headwarp.tools.view.player import Player
from headwarp.tools.view.server import Editor, Place, ViserScreen
from headwarp.tools.view.tasks import Tasks


def test_tasks_come_in_order_and_an_error_is_told_and_stops_none():
    shown, failed, done = [], [], []
    tasks = Tasks(lambda title, text: lambda words: shown.append((title, words)), failed=failed.append)
    error = ValueError("two")

    def fails(told):
        raise error

    tasks.do("one", "", lambda told: done.append(1))
    tasks.do("two", "", fails)
    tasks.do("three", "", lambda told: done.append(3))
    tasks.wait(20)
    tasks.close()
    tasks.do("four", "", lambda told: done.append(4))
    assert (done, failed) == ([1, 3], [error])
    assert shown == [("one", None), ("two", None), ("three", None)]


def test_a_film_that_is_played_again_at_once_runs_once_and_ends_once():
    ended, moved = [], threading.Event()
    player = Player(lambda moment: moved.set(), ended=lambda: ended.append(1))
    assert player.start(0.0, length=lambda: 1.0)
    first = [each for each in threading.enumerate() if each.name == "headwarp-view-film"]
    assert not player.start(0.0, length=lambda: 1.0)
    assert player.stop()
    assert player.start(0.0, length=lambda: 1.0)
    for each in first:
        each.join(20)
    assert (ended, player.playing) == ([], True)
    last = [each for each in threading.enumerate() if each.name == "headwarp-view-film"]
    player.stop()
    for each in last:
        each.join(20)
    assert (ended, player.playing, player.stop()) == ([1], False, False)


class Tab(SimpleNamespace):
    """A client of which everything that is asked is remembered."""

    def add_notification(self, *args, **kwargs):
        self.notes.append(args)
        return SimpleNamespace(remove=lambda: None, body="")


def test_nothing_is_sent_to_a_tab_that_is_gone():
    tabs = {}
    tab = tabs[3] = Tab(client_id=3, notes=[])
    screen = ViserScreen(SimpleNamespace(get_clients=lambda: tabs), tab)
    screen.tell("a", "b")
    told = screen.busy("c", "d")
    tabs.clear()
    screen.tell("e", "f")
    screen.busy("g", "h")("i")
    told("j")
    told(None)
    assert [note[:2] for note in tab.notes] == [("a", "b"), ("c", "d")]


def test_a_tab_that_leaves_while_it_is_welcomed_and_one_after_the_end_leave_no_session(tmp_path):
    engine = SimpleNamespace(options=SimpleNamespace(head=None), head=None)
    editor = Editor(engine, Place(), None, Document())
    editor._server = SimpleNamespace(get_clients=dict, stop=lambda: None)
    editor._welcome(Tab(client_id=1, notes=[]))
    assert not editor.sessions
    editor.stop()
    editor._server = SimpleNamespace(get_clients=lambda: {2: None})
    editor._welcome(Tab(client_id=2, notes=[]))
    assert not editor.sessions
