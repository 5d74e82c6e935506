"""Photographs of people, whoever they are: from folders of pictures to samples with fitted depth."""
