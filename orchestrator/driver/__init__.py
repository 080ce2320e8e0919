"""The driver of an ablation: plan, forecast, train, record, report."""
