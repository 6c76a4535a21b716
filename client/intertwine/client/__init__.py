"""The participant's agent: enrols, trains, proves, keeps its privacy budget, predicts."""
