"""What differs between a laptop and a server; each value is THUMBS_<NAME> in the environment."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The service's settings."""

    model_config = SettingsConfigDict(env_prefix="thumbs_")

    broker_url: str = "redis://localhost:6379/0"
    result_backend: str | None = None
    fetch_timeout: float = 10
    largest: int = 1024


settings = Settings()
