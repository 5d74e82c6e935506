"""What runs beside training: guards, averages, logs, samples, the weights folder."""
