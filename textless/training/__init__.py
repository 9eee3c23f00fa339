"""Parts of a training loop; the loop itself stays in the stage that trains."""
