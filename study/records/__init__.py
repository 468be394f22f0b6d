"""What MLflow holds, and how it is read and written."""
