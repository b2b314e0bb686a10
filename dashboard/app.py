"""The comparison dashboard: `streamlit run dashboard/app.py`. It reads what MLflow holds and changes nothing."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import source
from dashboard.source import Unavailable

st.set_page_config(
    page_title="Diffusion workbench", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide"
)

page = st.navigation(
    [
        st.Page(
            "app_pages/questions.py",
            title="Questions",
            icon=":material/quiz:",
            default=True,
            help="Every question that was put, its answer on each data set, and how sure that answer is.",
        ),
        st.Page(
            "app_pages/study.py",
            title="Study",
            icon=":material/monitoring:",
            url_path="study",
            help="The evidence for one question: quality, cost, pictures, every trial, and how to run it again.",
        ),
        st.Page(
            "app_pages/fits.py",
            title="Fits",
            icon=":material/model_training:",
            url_path="fits",
            help="Every training: learning curves, seconds, speed and memory.",
        ),
    ],
    position="top",
)

problem = source.current().problem()
if problem:
    st.error(
        f"{problem} Start the local stack with `python -m pipelines.stack up`, or set `MLFLOW_TRACKING_URI` to the "
        "address of a server that runs.",
        icon=":material/cloud_off:",
    )
    st.stop()
try:
    page.run()
except Unavailable as error:
    st.error(f"The store at {source.current().uri} did not answer: {error}", icon=":material/cloud_off:")
