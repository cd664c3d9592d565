"""One file a task: its data, network, losses and judgement."""
