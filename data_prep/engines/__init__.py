"""Who does which videos where: the plan (:mod:`.plan`), what a worker does with a unit of it (:mod:`.unit`), the
workers (:mod:`.local`, :mod:`.ray_cluster`), and the loop that gives them work (:mod:`.drive`)."""
