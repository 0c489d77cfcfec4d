"""Jobs with a known illness and healthy ones, by which the diagnosis is measured."""
