"""Folders of training runs in, one record per run out: settings, learning curve and outcome."""
