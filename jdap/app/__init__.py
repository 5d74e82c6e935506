"""``jdap app``: the models on a page in the browser. What is done for visitors lies here, what they see in ``page``."""
