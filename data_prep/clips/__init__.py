"""From a video to rated clips: the record that travels, the list of its steps, and what they measure."""
