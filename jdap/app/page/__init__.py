"""The page: what visitors see, a file for each tab. What is done for them lies in the room above, without gradio."""
