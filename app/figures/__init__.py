"""Results → Plotly figures. Nothing here knows Streamlit."""
