"""What code sets stays set, whatever a browser that has not heard of it still says."""

from __future__ import annotations

import streamlit as st
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest
from widgets import drawn

from app import values


def page() -> None:
    import streamlit as st

    from app import values

    st.session_state.setdefault("opened", {"channel": 1})
    st.number_input("Channel", 0, 9, values.first("channel"), 1, key=values.key("channel"))
    st.button("Seven", key="seven", on_click=values.put, args=("channel", 7))
    st.write(f"shown {values.get('channel')}")


def shown(at: AppTest) -> str:
    return at.markdown[0].value


def test_a_value_set_by_code_outlives_reruns_that_tell_the_old_one():
    at = AppTest.from_function(page).run()
    assert shown(at) == "shown 1"
    drawn(at, "number_input", "channel").set_value(3).run()
    late = WidgetStates(widgets=[drawn(at, "number_input", "channel")._widget_state])
    at.button(key="seven").click().run()
    assert shown(at) == "shown 7" and drawn(at, "number_input", "channel").value == 7
    at._run(late)  # what a browser asked for before it heard of the seven: still three
    assert shown(at) == "shown 7"
    drawn(at, "number_input", "channel").set_value(5).run()
    assert shown(at) == "shown 5"


def test_setting_what_is_shown_already_leaves_the_widget_alone(monkeypatch):
    monkeypatch.setattr(st, "session_state", {"opened": {"plan": "heatmap"}})
    values.put("view_plan", "heatmap")
    assert values.key("view_plan") == "view_plan"
    values.put("view_plan", "ribbons")
    assert values.key("view_plan") == "view_plan-1" and values.get("view_plan") == "ribbons"
